"""What can be wrong with a picture that somebody sent; each message says what to do."""


class PictureError(ValueError):
    """A picture that is not translated."""


class NotAPicture(PictureError):
    """Not a picture, or of a format or a kind that is not taken, which the message names."""


class BrokenPicture(PictureError):
    """A picture whose file is damaged, or made to keep a decoder busy."""


class TooManyPixels(PictureError):
    """A picture with more pixels than `limit`."""

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(f"The picture has {width} × {height} pixels, more than {limit:,}: send a smaller one.")
        self.width, self.height, self.limit = width, height, limit

    def __reduce__(self) -> tuple[type["TooManyPixels"], tuple[int, int, int]]:
        """So that it can be raised in one process and caught in another."""
        return type(self), (self.width, self.height, self.limit)


class TooLongForFormat(PictureError):
    """A picture with a side that the format it was to be written in cannot hold."""
