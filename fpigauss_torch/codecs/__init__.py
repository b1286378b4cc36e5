"""Codecs: one a flow library, found by the flow's type; none imports its library by itself."""

from fpigauss_torch.codecs._codec import Codec, FunctionCodec, codec_for, register_codec

__all__ = ["Codec", "FunctionCodec", "codec_for", "register_codec"]
