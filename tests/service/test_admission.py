"""Whether a request is let in, by what it would cost."""

import asyncio

import pytest

from service.admission import PUNCTUALITY, Admission, PixelBudget
from service.costs import Cost, Rate, Rates, Work
from service.errors import Busy, TooMuch
from service.estimates import Estimates

PIXELS = 10_000


def works(count: int, decoding: float = 0.1, inference: float = 0.2, encoding: float = 0.1) -> list[Work]:
    """Seconds of each step."""
    decode, infer, encode = (Rate(PIXELS, seconds) for seconds in (decoding, inference, encoding))
    steps = [Cost("codec", decode, PIXELS), Cost("lane", infer, PIXELS), Cost("codec", encode, PIXELS)]
    return [Work(list(steps)) for _ in range(count)]


def test_what_could_not_be_done_in_time_is_refused_and_told_when_it_could() -> None:
    admission = Admission(codecs=2, lanes=4)
    with admission.admitted("a2b", 10, works(40)):  # 4 s of two codecs and 2 s of four lanes
        admission.check("a2b", 10, works(2))
        with pytest.raises(Busy) as refused:
            admission.check("a2b", 2, works(1))
        assert refused.value.helps["retry_after"] == 5  # 6 s inside and 0.25 of its own, and 1.4 s are planned with
    admission.check("a2b", 0.1, works(1))


def test_a_request_of_many_is_let_in_whole_or_refused_whole() -> None:
    admission = Admission(codecs=1, lanes=1)
    with admission.admitted("a2b", 10, works(10)):
        with pytest.raises(Busy), admission.admitted("a2b", 10, works(10)):
            pass
        with admission.admitted("a2b", 10, works(5)):
            pass
    with admission.admitted("a2b", 1, works(100)):  # nothing else is inside
        pass


def test_what_is_done_makes_room_before_the_rest_of_its_request_is() -> None:
    admission, inside = Admission(codecs=1, lanes=1), works(10)
    with admission.admitted("a2b", 10, inside):
        for work in inside[:5]:
            for _ in range(3):
                admission.done(work)
        admission.check("a2b", 10, works(5))
        with pytest.raises(Busy):
            admission.check("a2b", 2 / PUNCTUALITY, works(1))


def test_a_machine_that_slows_down_lets_in_less_from_then_on() -> None:
    """What is inside already takes longer, too."""
    admission, inside = Admission(codecs=1, lanes=1), works(10)  # 4 s
    with admission.admitted("a2b", 10, inside):
        admission.check("a2b", 10, works(5))
        for cost, slower in zip(inside[0].costs, (0.2, 0.4, 0.2), strict=True):
            for _ in range(50):
                cost.rate.add(PIXELS, slower)
        with pytest.raises(Busy):
            admission.check("a2b", 10, works(5))
    admission.check("a2b", 0, works(5))


def test_what_only_a_slow_moment_forbids_is_not_too_much_for_ever() -> None:
    admission, (work,) = Admission(codecs=1, lanes=1), works(1)  # 0.4 s
    estimates = Estimates(None, admission, seconds=1)  # type: ignore[arg-type]
    for _ in range(50):
        for cost in work.costs:
            cost.rate.add(PIXELS, 5.0)
    estimates.check([work], lambda: "")
    with admission.admitted("a2b", 1, works(1)), pytest.raises(Busy):
        admission.check("a2b", 1, [work])
    with pytest.raises(TooMuch, match="send fewer"):
        estimates.check(works(3), lambda: "send fewer")


def test_one_picture_is_not_done_sooner_by_several_codecs() -> None:
    assert Admission(codecs=8, lanes=8).seconds(works(1, decoding=4, inference=8, encoding=2)) == pytest.approx(7)


def test_the_rate_follows_the_latest_measurements() -> None:
    rate = Rate(10_000, 1.0)
    for _ in range(50):
        rate.add(10_000, 0.5)
    assert rate.seconds(20_000) == pytest.approx(1.0, rel=0.05)


def test_a_rate_that_was_measured_in_a_bad_moment_does_not_refuse_for_ever() -> None:
    rate = Rate(10_000, 100.0)
    for _ in range(50):
        rate.relax()
    assert rate.seconds(10_000) < 1
    for _ in range(50):
        rate.add(10_000, 2.0)
    assert rate.seconds(10_000) == pytest.approx(2, rel=0.05)


def test_a_kind_that_was_not_measured_yet_takes_what_the_wider_one_takes() -> None:
    rates = Rates()
    rates.add("decode png", 10_000, 1.0)
    rates.add("decode jpeg", 10_000, 0.1)
    assert rates["decode jpeg /4"].seconds(10_000) == pytest.approx(0.1)
    assert rates["decode bmp"].seconds(10_000) == pytest.approx(1.0)
    rates.add("decode jpeg /4", 10_000, 0.02)
    assert rates["decode jpeg /4"].seconds(20_000) == pytest.approx(0.04)
    assert rates["decode jpeg"].seconds(10_000) == pytest.approx(0.1)


def test_pixels_that_are_held_at_once_keep_to_the_budget_in_order_and_the_largest_comes_alone() -> None:
    async def run() -> None:
        budget, held, most, order = PixelBudget(10), 0, 0, []

        async def hold(number: int, pixels: int) -> None:
            nonlocal held, most
            async with budget.hold(pixels):
                order.append(number)
                held += pixels
                most = max(most, held if pixels <= 10 else 0)
                assert pixels <= 10 or held == pixels
                await asyncio.sleep(0.001)
                held -= pixels

        tasks = [asyncio.create_task(hold(number, pixels)) for number, pixels in enumerate((6, 4, 6, 99, 1, 1))]
        gone = asyncio.create_task(hold(9, 5))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3, 4, 5]
        assert most == 10
        async with budget.hold(10):
            pass

    asyncio.run(run())
