"""The codec for transformed distributions of torch and pyro."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.distributions import (
    ComposeTransform,
    Independent,
    Transform,
    TransformedDistribution,
)
from torch.distributions.transforms import _InverseTransform

from fpigauss import InvalidInputError
from fpigauss_torch.codecs._codec import Codec, register_codec, summed

__all__ = ["DistributionCodec"]


@register_codec
class DistributionCodec(Codec):
    """For ``TransformedDistribution`` of torch or pyro, also inside an ``Independent``.

    All dimensions of x except the first belong to a sample, whatever the distribution calls an
    event. Only the transforms are used. Modules and ``nn.Parameter`` objects in the attributes of
    transforms are found, trained, and moved by ``.to(device)``.

    Transforms of pyro remember their last argument by identity, and would return outdated latents
    for it after an optimizer step: they are given a view, never the tensor itself.

    Parameters
    ----------
    flow : TransformedDistribution
        Its transforms must be bijections, with inverses that can be computed.

    Raises
    ------
    InvalidInputError
        If it is conditional, or a transform is not bijective.
    """

    flow_types = (
        "torch.distributions.transformed_distribution.TransformedDistribution",
        "torch.distributions.independent.Independent",
        "pyro.distributions.conditional.ConditionalDistribution",
    )

    def __init__(self, flow: Any) -> None:
        """Register the trained parts of the transforms, not the base."""
        super().__init__(flow)
        # decomposed, since torch cannot copy or pickle an inverse
        self._steps = list(_steps(_transforms(flow)))
        for step, _ in self._steps:
            if not step.bijective:
                raise InvalidInputError(
                    f"flow has a {type(step).__name__}, which is not bijective; leave it out"
                )
        held = [part for step, _ in self._steps for part in _held(step)]
        self.parts = nn.ModuleList(part for part in held if isinstance(part, nn.Module))
        self.learned = nn.ParameterList(part for part in held if isinstance(part, nn.Parameter))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode by the inverses of the transforms, last transform first."""
        value = x.view_as(x)
        logdet = x.new_zeros(x.shape[0])
        for step, inverted in reversed(self._steps):
            given = value
            value = step(given) if inverted else _inverse(step, given)
            source, target = (given, value) if inverted else (value, given)
            batch = source.shape[: source.ndim - step.domain.event_dim]
            change = summed(step.log_abs_det_jacobian(source, target), batch, source)
            logdet = logdet + change if inverted else logdet - change
        return self.flattened(value), logdet

    def decode(self, z: Tensor) -> Tensor:
        """Decode by the transforms."""
        (value,) = self.unflattened(z)
        for step, inverted in self._steps:
            value = _inverse(step, value) if inverted else step(value)
        return value

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if local_metadata.get("assign_to_params_buffers", False) and len(self.learned) > 0:
            raise InvalidInputError(
                "assign=True would separate the flow's transforms from their parameters; "
                "load the state with assign=False"
            )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args, **kwargs)

    def __getstate__(self) -> Any:
        # what pyro remembers is attached to a graph, which can neither be copied nor pickled
        for part in (part for step, _ in self._steps for part in _held(step)):
            for owner in part.modules() if isinstance(part, nn.Module) else (part,):
                for name, value in list(vars(owner).items()):
                    if name == "_cached_x_y":
                        owner._cached_x_y = None, None
                    elif name.startswith("_cache") and isinstance(value, Tensor):
                        setattr(owner, name, None)
        return super().__getstate__()


def _transforms(flow: Any) -> list[Transform]:
    while isinstance(flow, Independent):
        flow = flow.base_dist
    if isinstance(flow, TransformedDistribution):
        return list(flow.transforms)
    if hasattr(flow, "condition"):
        raise InvalidInputError(
            f"flow is a {type(flow).__name__}, which needs a context; the labels belong to the "
            "Gaussians, so build it without one"
        )
    raise InvalidInputError(
        f"flow is a {type(flow).__name__} without transforms; pass a TransformedDistribution"
    )


def _steps(transforms: list[Transform]) -> Iterator[tuple[Transform, bool]]:
    """Yield the transforms from z to x, each with whether its inverse is the one to apply."""
    for transform in transforms:
        if isinstance(transform, _InverseTransform):
            inner = list(_steps([transform.inv]))
            yield from ((step, not inverted) for step, inverted in reversed(inner))
        elif isinstance(transform, ComposeTransform):
            yield from _steps(transform.parts)
        else:
            yield transform, False


def _held(part: Any) -> Iterator[Any]:
    """Yield the modules, parameters and transforms that a transform consists of, itself first.

    Modules are not searched, since they register their own parts.
    """
    if isinstance(part, nn.Module | nn.Parameter):
        yield part
    elif isinstance(part, _InverseTransform):
        yield from _held(part.inv)
    elif isinstance(part, Transform):
        yield part
        for name, value in vars(part).items():
            if name != "_inv" and not name.startswith("_cache"):
                yield from _held(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _held(value)


def _inverse(step: Transform, value: Tensor) -> Tensor:
    try:
        inverted: Tensor = step.inv(value)
    except (
        KeyError,
        NotImplementedError,
    ) as error:  # pyro's, for a missing inverse
        raise InvalidInputError(
            f"flow has a {type(step).__name__} whose inverse cannot be computed; samples and "
            "latents need both directions, so take another transform"
        ) from error
    return inverted
