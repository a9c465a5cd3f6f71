"""What can be wrong with a picture. Each message says what to do."""


class PictureError(ValueError):
    """The base class: a picture that cannot be translated."""


class NotAPicture(PictureError):
    """Not a picture, or of an unsupported format or kind, which the message names."""


class BrokenPicture(PictureError):
    """A damaged file, or one that was made to keep a decoder busy."""


class TooManyPixels(PictureError):
    """A picture with more pixels than `limit`."""

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(f"The picture has {width} × {height} pixels, more than {limit:,}: send a smaller one.")
        self.width, self.height, self.limit = width, height, limit

    def __reduce__(self) -> tuple[type["TooManyPixels"], tuple[int, int, int]]:
        """Support pickling, so that the error can be raised in one process and caught in another."""
        return type(self), (self.width, self.height, self.limit)


class TooLongForFormat(PictureError):
    """A picture with a side longer than the output format allows."""
