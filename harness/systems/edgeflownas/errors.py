"""What a version cannot show, and what is wrong with a checkout."""

__all__ = ["AbandonedRunError", "CheckoutError", "NotApplicableError"]


class NotApplicableError(Exception):
    """The version at hand has no such thing; the text says what."""


class CheckoutError(RuntimeError):
    """The checkout cannot be found, imported or observed; the text says what was expected."""


class AbandonedRunError(BaseException):
    """Unwinds the training loop of a run that nobody needs any more.

    Not an ``Exception``: the loop must not be able to catch it and go on.
    """
