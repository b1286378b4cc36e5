"""The exception that only this package raises."""

from fpigauss import FixedPointResult

__all__ = ["RefitRejectedError"]


class RefitRejectedError(RuntimeError):
    """A fit ended with a status that is not among the accepted ones; the old Gaussians were kept.

    Attributes
    ----------
    result : FixedPointResult
        The rejected fit, with its Gaussians.
    """

    def __init__(self, message: str, result: FixedPointResult) -> None:
        """Keep the result beside the message."""
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type, tuple[str, FixedPointResult]]:
        """Pickle it with its result: processes pass errors on."""
        return type(self), (str(self), self.result)
