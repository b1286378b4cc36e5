"""Codecs: one per flow library, chosen by the flow's type; none of them imports its library."""

from fpigauss_torch.codecs._choice import codec_for, codec_of
from fpigauss_torch.codecs._codec import Codec, FunctionCodec, register_codec
from fpigauss_torch.codecs._distributions import DistributionCodec
from fpigauss_torch.codecs._freia import FreiaCodec
from fpigauss_torch.codecs._nflows import NflowsCodec
from fpigauss_torch.codecs._normflows import NormflowsCodec, NormflowsMultiscaleCodec
from fpigauss_torch.codecs._tarflow import TarFlowCodec
from fpigauss_torch.codecs._zuko import ZukoCodec

__all__ = [
    "Codec",
    "DistributionCodec",
    "FreiaCodec",
    "FunctionCodec",
    "NflowsCodec",
    "NormflowsCodec",
    "NormflowsMultiscaleCodec",
    "TarFlowCodec",
    "ZukoCodec",
    "codec_for",
    "codec_of",
    "register_codec",
]
