"""A flow of any library with class Gaussians in its latent space."""

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from fpigauss import InvalidInputError
from fpigauss.interface import check_positive
from fpigauss_torch._support import (
    MEMORY_LIMIT,
    as_generator,
    as_samples,
    checked_encoding,
    deciding_parameters,
    evaluating,
    given,
    is_sharded,
    labels_to_draw,
    not_encoded,
    register_sharded,
    under_compile,
    warn_of_averaged_integers,
    warn_of_log_determinants,
    warn_of_samples_not_finite,
)
from fpigauss_torch.codecs import codec_of
from fpigauss_torch.prior import LatentPrior

__all__ = ["ClassFlow", "class_flow_of"]

#: What a flow raises for samples that it is not made for.
_REFUSALS = (AssertionError, IndexError, RuntimeError, TypeError, ValueError)


class ClassFlow(nn.Module):
    r"""A normalizing flow over class Gaussians: log p(x|y) = log N_y(f(x)) + log abs(det df/dx).

    Samples may be tensors or arrays of other libraries; they are moved to the device of the flow's
    parameters, and floating ones to their dtype.

    Parameters
    ----------
    flow : object
        A flow of normflows, nflows, zuko, FrEIA, torch.distributions or pyro; or anything else,
        with ``codec``. Its own base is not used, trained, or moved by ``.to(device)``.
    gaussians : LatentPrior
        The class densities over flat latents; ``LatentGaussians``, or one of
        ``fpigauss_torch.priors``.
    codec : Codec, type of Codec, object, or pair of functions, optional
        How to encode and decode: (x -> (z, logdet), z -> x), or an object with methods of these
        names. By default, chosen by the flow's type.

    See Also
    --------
    LatentGaussians : the Gaussians.
    FixedPointSchedule : when to refit them.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import ClassFlow, LatentGaussians
    >>> double = (lambda x: (2 * x, torch.full((len(x),), 2 * 0.6931)), lambda z: z / 2)
    >>> model = ClassFlow(None, LatentGaussians(3, 2), codec=double)
    >>> x = torch.zeros(4, 2)
    >>> model(x, torch.tensor([0, 1, 2, 0])).mean()
    tensor(0.4517)
    >>> model.sample([0, 1], seed=0).shape
    torch.Size([2, 2])
    """

    def __init__(
        self,
        flow: Any,
        gaussians: LatentPrior,
        codec: Any = None,
    ) -> None:
        """Find the codec."""
        super().__init__()
        if inspect.isclass(gaussians) and issubclass(gaussians, LatentPrior):
            raise InvalidInputError(
                f"gaussians is the class {gaussians.__name__}; pass an object of it, "
                f"{gaussians.__name__}(n_classes, dim)"
            )
        gaussians = under_compile(gaussians)
        if not isinstance(gaussians, LatentPrior):
            raise InvalidInputError(
                f"gaussians is a {type(gaussians).__name__}; pass LatentGaussians or another prior"
            )
        self.gaussians = (
            gaussians  # comes first: a state of other sizes is refused before any tensor is loaded
        )
        self.codec = codec_of(flow, codec)

    @property
    def flow(self) -> Any:
        """The flow as it was given."""
        return self.codec.flow

    # -- between samples and latents -------------------------------------------------------

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode samples to flat latents and log-determinants.

        Parameters
        ----------
        x : (N, ...) tensor
            Samples.

        Returns
        -------
        z : (N, D) tensor
        logdet : (N,) tensor
            log abs(det dz/dx), in nats.
        """
        if self._registered("encode"):
            return self.encode(x)
        x = as_samples(x, self.codec, lambda: self.gaussians.density().means.device)
        z, logdet = self._encoded(x)
        if z.shape[1] != self.gaussians.dim:
            raise InvalidInputError(
                f"the flow's latents have {z.shape[1]} dimensions, the Gaussians "
                f"{self.gaussians.dim}; make {type(self.gaussians).__name__} with dim={z.shape[1]}"
            )
        return z, logdet

    def _encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode; where the flow fails on what are no samples of it, say so."""
        if torch.compiler.is_compiling():
            return checked_encoding(self.codec.encode(x), x.shape[0])
        try:
            z, logdet = checked_encoding(self.codec.encode(x), x.shape[0])
        except torch.cuda.OutOfMemoryError:
            raise
        except _REFUSALS as error:
            why = not_encoded(x, self.gaussians.dim, self.codec.shapes, error)
            if why is None:
                raise
            raise InvalidInputError(why) from error
        if z.shape[1:] != (self.gaussians.dim,) or not z.is_floating_point():
            why = not_encoded(x, self.gaussians.dim)
            if why is not None:
                raise InvalidInputError(why)
        return z, logdet

    def decode(self, z: Tensor) -> Tensor:
        """Decode flat latents to samples.

        Parameters
        ----------
        z : (N, D) tensor

        Returns
        -------
        (N, ...) tensor
        """
        if self._registered("decode"):
            return self.decode(z)
        x = self.codec.decode(z)
        if not isinstance(x, Tensor):
            raise InvalidInputError(
                f"codec decodes to a {type(x).__name__}; return a tensor (N, ...)"
            )
        return x

    # -- densities -------------------------------------------------------------------------

    def forward(self, x: Tensor, y: Any = None, *, priors: Any = None) -> Tensor:
        """Compute the negative log-likelihood of every sample; train on its mean.

        Parameters
        ----------
        x : (N, ...) tensor
            Samples.
        y : (N,) integers or (N, K) floats, optional
            Classes 0..K-1, -1 for samples without a label, or soft labels; without
            labels, the mixture of all classes.
        priors : "counts" or (K,), optional
            The weights of the mixture, as in ``predict``; equal by default.

        Returns
        -------
        (N,) tensor
            In nats.
        """
        return -self.log_prob(x, y, **given(priors=priors))

    def log_prob(self, x: Tensor, y: Any = None, *, priors: Any = None) -> Tensor:
        """Compute log p(x|y), or log p(x) without labels.

        Parameters
        ----------
        x, y, priors
            As in ``forward``.

        Returns
        -------
        (N,) tensor
            In nats.
        """
        z, logdet = self.encode(x)
        return self.gaussians.log_prob(z, y, **given(priors=priors)) + logdet

    def class_log_prob(self, x: Tensor) -> Tensor:
        """Compute log p(x|y) of every class.

        Parameters
        ----------
        x : (N, ...) tensor

        Returns
        -------
        (N, K) tensor
            In nats.
        """
        z, logdet = self.encode(x)
        return self.gaussians.class_log_prob(z) + logdet[:, None]

    def bits_per_dim(
        self, x: Tensor, y: Any = None, *, levels: int = 1, priors: Any = None
    ) -> Tensor:
        """Compute the negative log-likelihood in bits per dimension.

        Parameters
        ----------
        x, y, priors
            As in ``forward``.
        levels : int
            The number of levels, if x was dequantized and scaled from 0..levels-1 to [0, 1]: 256
            for 8-bit images.

        Returns
        -------
        (N,) tensor
        """
        if check_positive(levels, "levels") < 1:
            raise InvalidInputError(f"levels is {levels!r}; pass the number of levels, >= 1")
        nats: Tensor = self(x, y, **given(priors=priors))
        return nats / (math.log(2.0) * self.gaussians.dim) + math.log2(levels)

    def predict(self, x: Tensor, *, priors: Any = None, memory_limit: int = MEMORY_LIMIT) -> Tensor:
        """Return the most probable class, argmax_y p(y) p(x|y), in evaluation mode.

        Parameters
        ----------
        x : (N, ...) tensor
        priors : "counts" or (K,), optional
            The probability p(y) of each class; or "counts", in proportion to those of the last fit.
            Equal by default, whatever the counts.
        memory_limit : int
            Bytes that class densities may take at a time. The flow encodes all of ``x`` at once.

        Returns
        -------
        (N,) int64 tensor

        Warns
        -----
        RuntimeWarning
            Once per call, if log-determinants of finite latents are not finite, or as in
            ``LatentPrior.predict``; such rows have a rejection score of +inf.
        """
        with torch.no_grad(), evaluating(self):
            z, logdet = self.encode(x)
            warn_of_log_determinants(z, logdet)
            return self.gaussians.predict(z, **_passed_on(priors, memory_limit))

    def predict_proba(
        self,
        x: Tensor,
        temperature: float = 1.0,
        *,
        priors: Any = None,
        memory_limit: int = MEMORY_LIMIT,
    ) -> Tensor:
        """Compute p(y|x), in evaluation mode.

        Parameters
        ----------
        x : (N, ...) tensor
        temperature : float
            Divides the log-densities (see ``calibrate_temperature``).
        priors : "counts" or (K,), optional
            The probability of each class, as in ``predict``; equal by default.
        memory_limit : int
            As in ``predict``; the result itself is not counted.

        Returns
        -------
        (N, K) tensor

        Warns
        -----
        RuntimeWarning
            Once per call, if log-determinants of finite latents are not finite.
        """
        with torch.no_grad(), evaluating(self):  # as a decorator it would hide who called
            z, logdet = self.encode(x)
            warn_of_log_determinants(z, logdet)
            return self.gaussians.predict_proba(z, temperature, **_passed_on(priors, memory_limit))

    # -- samples ---------------------------------------------------------------------------

    def sample(self, labels: Any, temperature: float = 1.0, seed: Any = None) -> Tensor:
        """Sample given classes, in evaluation mode.

        A flow can decode once the shapes of its latents are known: after the first encode, or from
        a loaded state. There is one sample per label, also where the flow overflows: samples that
        are not finite are neither left out nor drawn again, which would change the distribution.

        Parameters
        ----------
        labels : (N,) integers, or int
            The classes to sample, in this order; or the number of samples to draw
            from the mixture.
        temperature : float
            Multiplies the latents' standard deviations.
        seed : int or torch.Generator, optional
            Where the randomness comes from.

        Returns
        -------
        (N, ...) tensor

        Warns
        -----
        RuntimeWarning
            Once per call, if samples are not finite; it says how many of which classes. Compiled
            code does not look at values.
        """
        with torch.no_grad():  # as a decorator it would hide who called, from the warning
            generator = as_generator(seed)
            labels = labels_to_draw(labels, self.gaussians.density().means, generator)
            dtype = self._dtype()
            own = None if dtype == torch.get_default_dtype() else dtype
            z = self.gaussians.sample(labels, temperature, generator, **given(dtype=own))
            with evaluating(self):
                x = self.decode(z)
            warn_of_samples_not_finite(x, labels)
            return x

    def _dtype(self) -> torch.dtype:
        """Return the dtype that the flow works in."""
        deciding = (p.dtype for p in deciding_parameters(self.codec))
        return next(deciding, torch.get_default_dtype())

    # -- parameters in shards --------------------------------------------------------------

    def _registered(self, method: str) -> bool:
        """Let FSDP2 gather parameters for ``method`` too; say whether it does from now on.

        ``fully_shard`` gathers them for ``forward`` alone, through which refits, predictions and
        samples do not go.
        """
        if torch.compiler.is_compiling() or method in vars(self) or not is_sharded(self):
            return False
        register_sharded(self, method)
        return True


def _passed_on(priors: Any, memory_limit: Any) -> dict[str, Any]:
    """Return the options that a prior of the user's, which has no use for them, need not take."""
    limit = {} if memory_limit is MEMORY_LIMIT else {"memory_limit": memory_limit}
    return given(priors=priors) | limit


def class_flow_of(model: Any, name: str = "model") -> ClassFlow:
    """Return the ``ClassFlow`` in a model, whatever wraps it."""
    flow, averaged = under_compile(model), None
    while isinstance(flow, AveragedModel | DistributedDataParallel):
        averaged = flow if isinstance(flow, AveragedModel) else averaged
        flow = under_compile(flow.module)
    if not isinstance(flow, ClassFlow):
        raise InvalidInputError(
            f"{name} is, or wraps, a {type(flow).__name__}; pass a ClassFlow "
            "(ClassFlow(flow, gaussians)), bare or in DistributedDataParallel, AveragedModel or "
            "torch.compile"
        )
    if averaged is not None:
        warn_of_averaged_integers(averaged, flow)
    return flow
