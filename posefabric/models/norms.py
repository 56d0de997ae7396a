"""BatchNorm folded into the convolution before it, in any network, in eval mode.

Which norm follows which convolution is seen, not guessed from names: one forward pass notes whose output goes where, so
that a norm stays where its convolution has a second reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves


class _Readers(TorchFunctionMode):
    """Notes the result of every convolution, who reads it, and which of the readers are norms."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        modules = dict(net.named_modules())
        self._convolutions = {id(m.weight): name for name, m in modules.items() if isinstance(m, nn.Conv2d)}
        norms = {name: m for name, m in modules.items() if isinstance(m, nn.BatchNorm2d)}
        self._norms = {id(m.running_mean): name for name, m in norms.items() if m.running_mean is not None}
        self._results: dict[int, tuple[str, Tensor]] = {}  # the tensor is held, so that its id stays its own
        self._readers: dict[str, list[str | None]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            return result
        norm = self._norms.get(id(args[1])) if func is F.batch_norm else None
        self.note((args, kwargs), norm)
        if isinstance(result, Tensor) and len(args) > 1 and id(args[1]) in self._convolutions:
            name = self._convolutions[id(args[1])]
            self._results[id(result)] = name, result
            self._readers.setdefault(name, [])
        return result

    def note(self, read: Any, reader: str | None) -> None:
        """Somebody read these; a reader that is no norm has no name here."""
        for leaf in tree_leaves(read):
            if id(leaf) in self._results:
                self._readers[self._results[id(leaf)][0]].append(reader)

    def pairs(self) -> dict[str, str]:
        """Convolution -> the norm that alone reads it."""
        alone = {name: readers[0] for name, readers in self._readers.items() if len(readers) == 1}
        found = {name: norm for name, norm in alone.items() if norm is not None}
        norms = list(found.values())
        return {name: norm for name, norm in found.items() if norms.count(norm) == 1}


@torch.no_grad()
def norm_pairs(net: nn.Module, image: Tensor) -> dict[str, str]:
    """Names of convolutions and of the norms to be folded into them, of a net in eval mode."""
    readers = _Readers(net)
    with readers:
        output = net(image)
    readers.note(output, None)
    return readers.pairs()


def fold_norms(net: nn.Module, pairs: Mapping[str, str]) -> None:
    """Fold in place. What a norm does besides (timm's hold an activation) stays where the norm was."""
    for convolution, norm in pairs.items():
        old = net.get_submodule(norm)
        assert isinstance(old, nn.BatchNorm2d)
        fused = fuse_conv_bn_eval(net.get_submodule(convolution), old)  # type: ignore[type-var]
        _replace(net, convolution, fused)
        _replace(net, norm, nn.Sequential(*rest) if (rest := _besides(old)) else nn.Identity())


def _besides(norm: nn.Module) -> list[nn.Module]:
    return [child for child in norm.children() if not isinstance(child, nn.Identity)]


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, module)
