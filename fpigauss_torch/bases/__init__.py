"""Class Gaussians as the base of a library's own flow, for users who keep the library's loop."""

import importlib
from collections.abc import Sequence
from typing import Any

from fpigauss import InvalidInputError
from fpigauss_torch._support import under_compile
from fpigauss_torch.prior import LatentPrior

__all__ = ["as_base", "without_context"]

#: Module and class of every library's base; the module is imported when the base is asked for.
_BASES = {
    "normflows": ("_normflows", "NormflowsBase"),
    "nflows": ("_nflows", "NflowsBase"),
    "zuko": ("_zuko", "ZukoBase"),
    "torch": ("_distributions", "TorchBase"),
    "pyro": ("_pyro", "PyroBase"),
}


def as_base(gaussians: LatentPrior, library: str, shape: Sequence[int] | None = None) -> Any:
    """Make class Gaussians the base distribution of a flow library.

    The given Gaussians become a submodule of the base, not a copy: the flow sees refits in place,
    and its state includes the Gaussians. To refit, make ``ClassFlow(flow, gaussians)`` of the flow
    and the same Gaussians. Trained priors have a ``penalty()`` that the library's loss does not
    include: add it.

    =========== ==================================== =============================================
    library     the base goes into                   labels
    =========== ==================================== =============================================
    "normflows" ``ClassCondFlow(base, flows)``, or   ``y`` (N,) integers, or (N, K) weights, which
                ``NormalizingFlow`` for the mixture  mix likelihoods
    "nflows"    ``Flow(transform, base)``            ``context`` (N,) or (N, 1), or (N, K) weights
    "zuko"      ``Flow(transform, base)``            ``c`` (N, 1), or (N, K) weights
    "torch"     ``TransformedDistribution(base,      batch shape (K,): x (N, 1, D) is scored under
                transforms)``                        all classes, (N, K); ``base.condition(y)`` has
                                                     batch shape (N,)
    "pyro"      ``ConditionalTransformedDistribution ``.condition(y)`` (N,), or (N, K) weights
                (base, transforms)``
    =========== ==================================== =============================================

    A label -1, or no labels at all, means the mixture of all classes. nflows and zuko also pass the
    labels to the transform; if it does not take them, wrap it in ``without_context``. A flow with
    several latents per sample (``normflows.MultiscaleFlow``) has one base per level, and one joint
    Gaussian per class cannot take their place: use ``ClassFlow``. With normflows, use labels in a
    ``ClassCondFlow``: a ``ConditionalNormalizingFlow`` passes its context to every layer.

    Parameters
    ----------
    gaussians : LatentPrior
        The class densities.
    library : {"normflows", "nflows", "zuko", "torch", "pyro"}
        The library whose interface the base should have.
    shape : sequence of int, optional
        The shape of one sample's latents in the flow, such as (C, H, W); (dim,) by default.

    Returns
    -------
    torch.nn.Module
        A module that is also a base distribution of the library. Its samples have the dtype that
        the module was cast to, at first torch's default. Its attribute ``gaussians`` is the prior.

    Raises
    ------
    InvalidInputError
        If the library is not one of these (flows of FrEIA have no base: use ``ClassFlow``), or
        ``shape`` does not have ``gaussians.dim`` elements.
    ImportError
        If the library is not installed.

    See Also
    --------
    ClassFlow : puts Gaussians under a flow without its base.
    without_context : keeps labels away from the transforms.

    Examples
    --------
    >>> import torch
    >>> from torch.distributions import AffineTransform, TransformedDistribution
    >>> from fpigauss_torch import LatentGaussians, as_base
    >>> base = as_base(LatentGaussians(n_classes=3, dim=2), "torch")
    >>> flow = TransformedDistribution(base, [AffineTransform(0.0, 2.0, event_dim=1)])
    >>> flow.log_prob(torch.zeros(5, 1, 2)).shape  # of every sample under every class
    torch.Size([5, 3])
    """
    gaussians = under_compile(gaussians)
    if not isinstance(gaussians, LatentPrior):
        raise InvalidInputError(
            f"gaussians is a {type(gaussians).__name__}; pass LatentGaussians or another prior"
        )
    if library == "FrEIA":
        raise InvalidInputError(
            'library is "FrEIA", whose flows have no base; use ClassFlow(flow, gaussians)'
        )
    if not isinstance(library, str) or library not in _BASES:
        raise InvalidInputError(f"library is {library!r}; pass one of {', '.join(_BASES)}")
    module, name = _BASES[library]
    return getattr(_imported(module, library), name)(gaussians, shape)


def without_context(transform: Any) -> Any:
    """Wrap a transform of nflows or zuko that should not get the labels meant for the base.

    Parameters
    ----------
    transform : nflows.transforms.Transform or zuko.lazy.LazyTransform
        A transform that does not take a context.

    Returns
    -------
    torch.nn.Module
        A transform of the same library that ignores a context.

    Raises
    ------
    InvalidInputError
        If the transform belongs to neither library.

    See Also
    --------
    as_base : the base that gets the labels.

    Examples
    --------
    >>> import nflows.flows, nflows.transforms, torch
    >>> from fpigauss_torch import LatentGaussians, as_base, without_context
    >>> transform = without_context(nflows.transforms.ReversePermutation(2))
    >>> flow = nflows.flows.Flow(transform, as_base(LatentGaussians(3, 2), "nflows"))
    >>> flow.log_prob(torch.zeros(4, 2), context=torch.tensor([0, 1, 2, 0])).shape
    torch.Size([4])
    """
    libraries = {ancestor.__module__.partition(".")[0] for ancestor in type(transform).__mro__}
    for library in ("nflows", "zuko"):
        if library in libraries:
            return _imported(_BASES[library][0], library).WithoutContext(transform)
    raise InvalidInputError(
        f"transform is a {type(transform).__name__}; pass a transform of nflows or zuko"
    )


#: Packages that are called otherwise than their module.
_PACKAGES = {"pyro": "pyro-ppl"}


def _imported(module: str, library: str) -> Any:
    try:
        return importlib.import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise ImportError(
            f"{library} is not installed; pip install {_PACKAGES.get(library, library)}",
            name=library,
        ) from error
