"""Runs a PyTorch module once and translates every operation that PyTorch computes, however the module is written.

    >>> logits = Recording(module, builder, translate).run(images)            # doctest: +SKIP

Below `forward`, hooks, parametrisations, subclasses and in-place operations, PyTorch dispatches a short list of
operations ("aten"). A `TorchDispatchMode` sees each of them with the tensors that it reads. A tensor that does not
depend on the images is a constant. Views and in-place operations are understood by their memory: the elements of a
tensor are those that were last written to its memory, read with its sizes and strides.
"""

import inspect
import linecache
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from squeezenet.errors import UnsupportedOperation
from squeezenet.importing.builder import Builder, Value

WHOLE = (F.local_response_norm, F.multi_head_attention_forward)
"""Functions that are recorded as one operation, though PyTorch computes them by several."""

READS = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero")
"""Operations that read elements of a tensor for Python code."""

SHAPES = ("empty_like", "zeros_like", "ones_like", "full_like", "new_empty", "new_zeros", "new_ones", "new_full")
"""Operations whose result depends on the shape of the tensor that they read, and not on its elements."""

_TORCH = os.path.dirname(torch.__file__) + os.sep


@dataclass(frozen=True)
class Call:
    """One operation: its name without overload, its arguments by name, its results, and the module that called it.

    A `Value` stands for each tensor that depends on the images.
    """

    name: str
    arguments: dict[str, Any]
    results: list[Tensor]
    module: str

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]


Translate = Callable[["Recording", Call], Value]


class Located(UnsupportedOperation):
    """A refusal that names the operation and where it stands."""


@dataclass(frozen=True)
class _Held:
    """The content of a piece of memory: a value that a tensor of these sizes and strides reads there."""

    value: Value | UnsupportedOperation
    geometry: tuple[Any, ...]


class Recording:
    """One run of a module. `translate` turns each operation that depends on the images into a value of `builder`.

    With `keep`, the numbers in each tensor that is a whole value of the draft are kept in `seen`.
    """

    def __init__(self, module: nn.Module, builder: Builder, translate: Translate, keep: bool = False) -> None:
        self.seen: dict[int, Tensor] = {}
        self._keep = keep
        self.builder = builder
        self._module = module
        self._translate = translate
        self._held: dict[int, _Held] = {}
        self._alive: list[Tensor] = []  # so that no other tensor gets their memory
        self._paths = {id(child): path for path, child in module.named_modules()}
        self._types = {path: type(child).__name__ for path, child in module.named_modules()}
        self._stack: list[str] = [""]
        tensors = [*module.named_buffers(), *module.named_parameters()]
        self._names = {tensor.data_ptr(): name for name, tensor in tensors if tensor.numel()}

    def run(self, images: Tensor) -> tuple[Value, Tensor]:
        """The logits of `images` as a value and as numbers. Raises `UnsupportedOperation`."""
        self._hold(images, self.builder.image)
        with torch.no_grad(), self._following(), _Functions(self) as functions, _Operations(self) as operations:
            functions.operations = operations
            result = only_tensor(self._called(images))
        value = self.value(result)
        if value is None:
            raise UnsupportedOperation("the network computes no logits from the image")
        return value, result

    def _called(self, images: Tensor) -> Any:
        try:
            return self._module(images)
        except UnsupportedOperation:
            raise
        except Exception as error:
            needed = [p for p in inspect.signature(self._module.forward).parameters.values() if p.default is p.empty]
            if len([p for p in needed if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]) > 1:
                raise UnsupportedOperation("the network takes more than one input") from None
            what = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UnsupportedOperation(f"the network cannot read images of {tuple(images.shape)} ({what})") from error

    def name(self, tensor: Tensor, call: Call) -> str:
        """A name for the layer with this weight: the module that has it, or else the module that computes with it."""
        path = self._names.get(tensor.data_ptr())
        if path is None:
            return call.module
        parent, _, own = path.rpartition(".")
        return parent if own in ("weight", "bias", "running_mean") else path

    def value(self, tensor: Tensor) -> Value | None:
        """The value of a tensor; None if it does not depend on the images. Raises what made it unknown."""
        held = self._held.get(_memory(tensor))
        if held is None:
            return None
        if isinstance(held.value, UnsupportedOperation):
            raise held.value
        if held.geometry == _geometry(tensor):
            return held.value
        places = torch.full((tensor.untyped_storage().nbytes() // tensor.element_size(),), -1)
        places.as_strided(*held.geometry).copy_(torch.from_numpy(self.builder.order(held.value)))
        order = places.as_strided(*_geometry(tensor)).contiguous().numpy()
        if (order < 0).any() and (held.value.order is None or (held.value.order >= 0).all()):
            raise UnsupportedOperation("a tensor of memory that was never written")
        return self.builder.view(held.value, order)

    def depends(self, argument: Any) -> bool:
        """Whether an argument has a tensor that depends on the images."""
        return any(_memory(tensor) in self._held for tensor in _tensors(argument))

    def operation(
        self, name: str, arguments: dict[str, Any], results: list[Tensor], written: list[Tensor], random: bool
    ) -> None:
        """Translate an operation that was just computed. `written` are the operands that it changed."""
        if name in READS and self.depends(list(arguments.values())):
            raise Located(f"forward() depends on its data and cannot be traced ({self._place(name)})")
        if random and "attention" not in name:
            value: Value | UnsupportedOperation = Located(f"random numbers ({self._place(name)})")
        elif name in SHAPES or not self.depends(list(arguments.values())):
            for tensor in written:  # its memory may depend on the images no longer
                if self.depends(tensor):
                    self._write(tensor, Located(f"a constant overwrites a result ({self._place(name)})"), True)
            return
        elif not written and all(self.depends(tensor) for tensor in results):
            return  # views
        else:
            value = self._translated(name, arguments, results)
        for tensor in (written or results)[:1]:
            self._write(tensor, value, bool(written))
        for tensor in (written or results)[1:]:
            self._write(tensor, Located(f"further results ({self._place(name)})"), bool(written))

    def _translated(self, name: str, arguments: dict[str, Any], results: list[Tensor]) -> Value | UnsupportedOperation:
        self.builder.origin = self._place(name)
        try:
            replaced = {key: self._replaced(argument) for key, argument in arguments.items()}
            return self._translate(self, Call(name, replaced, results, self._stack[-1]))
        except Located as error:
            return error.with_traceback(None)  # whose frames would keep all tensors alive
        except UnsupportedOperation as error:
            attention = self._in_attention() and "attention" not in name  # the error names it in the other case
            inside = "attention cannot be expressed: " if attention else ""
            return Located(f"{inside}{error} ({self.builder.origin})")

    def _write(self, tensor: Tensor, value: Value | UnsupportedOperation, in_place: bool) -> None:
        size = tensor.untyped_storage().nbytes() // tensor.element_size()
        if in_place and tensor.numel() != size and isinstance(value, Value):
            value = Located(f"a part of a tensor is changed in place ({self.builder.origin})")
        self._hold(tensor, value)

    def _hold(self, tensor: Tensor, value: Value | UnsupportedOperation) -> None:
        if tensor.numel():
            self._held[_memory(tensor)] = _Held(value, _geometry(tensor))
            if self._keep and isinstance(value, Value) and value.order is None:
                self.seen.setdefault(value.number, tensor.clone())
            self._alive.append(tensor)

    def _replaced(self, argument: Any) -> Any:
        if isinstance(argument, Tensor):
            value = self.value(argument)
            return argument if value is None else value
        if isinstance(argument, list | tuple):
            return [self._replaced(each) for each in argument]
        return argument

    def _in_attention(self) -> bool:
        """Whether a module that runs is called attention."""
        parts = self._stack[-1].split(".")
        paths = [".".join(parts[: count + 1]) for count in range(len(parts))]
        return any("attention" in self._types.get(path, "").lower() for path in paths)

    def _place(self, name: str) -> str:
        path = self._stack[-1]
        module = f" in {path}, which is a {self._types.get(path, 'module')}" if path else ""
        line = _line_of_the_user()
        return f"{name}{module}{f'; {line}' if line else ''}"

    @contextmanager
    def _following(self) -> Iterator[None]:
        """Inside, the stack of the modules that are running is kept."""

        def enter(module: nn.Module, _: Any) -> None:
            self._stack.append(self._paths.get(id(module), self._stack[-1]))

        def leave(module: nn.Module, _: Any, __: Any) -> None:
            self._stack.pop()

        hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


class _Operations(TorchDispatchMode):
    """Sees every operation that PyTorch computes."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recording = recording
        self.paused = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.paused or torch.Tag.inplace_view in func.tags:  # such as squeeze_: the memory stays as it is
            return result
        schema = func._schema
        arguments = {argument.name: argument.default_value for argument in schema.arguments}
        arguments |= dict(zip(arguments, args, strict=False)) | kwargs
        changed = [each.name for each in schema.arguments if each.alias_info is not None and each.alias_info.is_write]
        name = schema.name.split("::")[-1]
        random = torch.Tag.nondeterministic_seeded in func.tags
        self.recording.operation(
            name.removesuffix("_") if changed and not name.endswith("__") else name,
            arguments,
            _tensors(result),
            [tensor for each in changed for tensor in _tensors(arguments[each])],
            random,
        )
        return result


class _Functions(TorchFunctionMode):
    """Sees the functions of `WHOLE`."""

    operations: _Operations

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in WHOLE or self.operations.paused:
            return func(*args, **kwargs)
        bound = inspect.signature(func).bind(*args, **kwargs)
        bound.apply_defaults()
        self.operations.paused = True
        try:
            result = func(*args, **kwargs)
        finally:
            self.operations.paused = False
        self.recording.operation(func.__name__, bound.arguments, _tensors(result), [], False)
        return result


def only_tensor(result: Any) -> Tensor:
    """The only tensor that a network returns, also in a list, a dictionary or a dataclass."""
    if isinstance(result, Tensor):
        return result
    if not isinstance(result, dict | list | tuple) and hasattr(result, "__dict__"):
        result = vars(result)
    if isinstance(result, list | tuple):
        result = dict(enumerate(result))
    items = result.items() if isinstance(result, dict) else ()
    tensors = {str(key): value for key, value in items if isinstance(value, Tensor)}
    if "logits" in tensors:
        return tensors["logits"]
    if len(tensors) != 1:
        found = f"{len(tensors)} tensors ({', '.join(tensors)})" if tensors else f"a {type(result).__name__}"
        raise UnsupportedOperation(f"the network must return its logits and nothing else; it returns {found}")
    return next(iter(tensors.values()))


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for each in value for tensor in _tensors(each)] if isinstance(value, list | tuple) else []


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _geometry(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())


def _line_of_the_user() -> str:
    """The innermost line outside PyTorch that is running, within `Recording.run`."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not Recording.run.__code__:
        file = frame.f_code.co_filename
        if not file.startswith((_TORCH, __file__)) and os.path.exists(file):
            code = linecache.getline(file, frame.f_lineno).strip()
            return f"{os.path.basename(file)}, line {frame.f_lineno}: {code}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
