"""The exception and the warning of this package."""

from fpigauss import FixedPointResult

__all__ = ["RefitRejectedError", "RepeatedRepulsionWarning"]


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


class RepeatedRepulsionWarning(UserWarning):
    """A refit fits the latents much worse than the Gaussians that it replaces.

    A flow that was trained toward separated Gaussians keeps its classes apart; a refit that repels
    them again demands the same distance once more: see "Later refits" in docs/flows.rst.
    """
