"""An exception of ours that the core has no use for."""

from fpigauss import FixedPointResult

__all__ = ["RefitRejectedError"]


class RefitRejectedError(RuntimeError):
    """A fit ended with a status that was not to be accepted; the old Gaussians were kept.

    Attributes
    ----------
    result : FixedPointResult
        The fit, Gaussians included.
    """

    def __init__(self, message: str, result: FixedPointResult) -> None:
        """Keep the result beside the message."""
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type, tuple[str, FixedPointResult]]:
        """Pickled with its result, as processes pass errors on."""
        return type(self), (str(self), self.result)
