"""What of the machine may be used."""

from pathlib import Path

import pytest

from service import machine


def test_a_control_groups_limits_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = machine.usable_cpus(), machine.usable_memory()
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text("536870912\n")
    assert (machine.usable_cpus(), machine.usable_memory()) == (1, 512 * 2**20)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert (machine.usable_cpus(), machine.usable_memory()) == whole
