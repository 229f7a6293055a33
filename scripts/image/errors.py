"""Why the image was not checked, or is not as it must be."""


class MissingError(Exception):
    """Something that the check needs is not on this machine; the text is one line and says what."""


class ImageError(Exception):
    """The image can't be built or does not behave; the text says what happened."""
