"""A pretended GPU: tensors that say cuda:0 and refuse what CUDA refuses, while the CPU computes, bit for bit as ever.

`OnDevice` is a tensor that wraps a CPU tensor and calls itself cuda:0 to everything written in Python. Each operation
comes through `computed`, which looks for tensors of two devices, hands the CPU's tensors to the CPU's kernel, and wraps
the result. Autograd and autocast are the CPU's. As with CUDA, the device has a default generator of its own, which
torch.manual_seed seeds along with the CPU's.

What it cannot find: an operation or a dtype without a CUDA kernel, a needless wait, a difference in rounding.
`install` changes the whole process for good: give it one of its own.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch._dynamo  # the dispatch mode imports it, and it does not like a changed torch.Generator
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

DEVICE, CPU = torch.device("cuda", 0), torch.device("cpu")
NESTED = (tuple, list)  # not tuple | list, which isinstance would make anew for every leaf
aten = torch.ops.aten
# Indices may lie on the CPU though the indexed tensor does not.
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


def is_here(device: torch.device | str | int | None) -> bool:
    """Whether the device is the pretended one."""
    return device is not None and torch.device(device).type == DEVICE.type


# --------------------------------------------------------------------------------------------------------- tensors


class OnDevice(Tensor):
    """A tensor of the pretended device; `value` is the CPU tensor that computes for it."""

    value: Tensor
    device, is_cuda, is_cpu = DEVICE, True, False

    @staticmethod
    def __new__(cls, value: Tensor) -> "OnDevice":
        layout = {"strides": value.stride(), "storage_offset": value.storage_offset(), "dtype": value.dtype}
        made = Tensor._make_wrapper_subclass(cls, value.shape, **layout)
        made.value = value
        return made

    def __tensor_flatten__(self) -> tuple[list[str], None]:  # Module.to puts tensors with it in the parameter's place
        return ["value"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], *_: Any) -> "OnDevice":
        return OnDevice(parts["value"])

    def __reduce_ex__(self, protocol: int) -> Any:
        """Saved as what torch.load(map_location="cpu") makes of it."""
        return self.detach().cpu().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict) -> "OnDevice":
        memo[id(self)] = twin = self.detach().clone().requires_grad_(self.requires_grad)
        twin._is_param = getattr(self, "_is_param", False)
        return twin

    def __format__(self, form: str) -> str:
        return format(self.item() if self.dim() == 0 else repr(self), form)

    def __repr__(self, **_: Any) -> str:
        return f"{DEVICE} {self.detach().cpu()}"

    def get_device(self) -> int:
        return DEVICE.index

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first.")

    @classmethod
    def __torch_function__(cls, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """One call of PyTorch's interface with a tensor of the device: what it makes on the way lies there too."""
        with torch._C.DisableTorchFunctionSubclass(), makes_here():
            return function(*args, **kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return computed(function, args, kwargs or {})


class Move(torch.autograd.Function):
    """Between the devices; a gradient goes the other way."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.value.clone() if isinstance(x, OnDevice) else OnDevice(x.clone())

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return Move.apply(gradient)


cpu_to = Tensor.to


def moved(x: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
    """What Tensor.to is."""
    if args and isinstance(args[0], Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **kwargs)
    if device is not None and is_here(device) != isinstance(x, OnDevice):
        x, copy = Move.apply(x), False
    layout = {} if memory_format is None else {"memory_format": memory_format}
    return cpu_to(x, dtype or x.dtype, copy=copy, **layout)


# ------------------------------------------------------------------------------------------------------ operations


class Pretence(TorchDispatchMode):
    """Sees every operation of the process, also one that makes a tensor and has none as argument."""

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return computed(function, args, kwargs or {})


depth = [0]  # of `makes_here`


@contextlib.contextmanager
def makes_here() -> Iterator[None]:
    """Inside, what is made without a word of its device is made on the pretended one."""
    depth[0] += 1
    try:
        yield
    finally:
        depth[0] -= 1


def computed(function: Any, args: tuple, kwargs: dict) -> Any:
    """One operation, by the CPU; its result is on the device if its arguments are, or `device=` says so.

    Raises RuntimeError as CUDA does.
    """
    tensors = [leaf for leaf in leaves((*args, *kwargs.values())) if isinstance(leaf, Tensor)]
    here = any(isinstance(tensor, OnDevice) for tensor in tensors)
    if here:
        check_devices(function, args, tensors)
    result_here = here or is_here(kwargs.get("device")) or (depth[0] > 0 and not tensors)
    if torch.Tag.nondeterministic_seeded in function.tags:
        function_here = drawn(function, args, kwargs, result_here)
    else:
        function_here = function
    if not result_here:
        return function_here(*args, **kwargs)
    plain = {name: CPU if name == "device" else mapped(unwrapped, value) for name, value in kwargs.items()}
    found = mapped(wrapped, function_here(*mapped(unwrapped, args), **plain))
    return return_and_correct_aliasing(function, args, kwargs, found)


def leaves(values: tuple | list) -> Iterator[Any]:
    """The values, those in lists among them each by itself (PyTorch's own pytrees take longer than the operation)."""
    for value in values:
        yield from leaves(value) if isinstance(value, NESTED) else (value,)


def mapped(function: Callable, value: Any) -> Any:
    """The function of every leaf, in tuples and lists like those given."""
    return type(value)([mapped(function, v) for v in value]) if isinstance(value, NESTED) else function(value)


def wrapped(value: Any) -> Any:
    return OnDevice(value) if isinstance(value, Tensor) else value


def unwrapped(value: Any) -> Any:
    return value.value if isinstance(value, OnDevice) else value


def check_devices(function: Any, args: tuple, tensors: list[Tensor]) -> None:
    """Raise where a CPU tensor meets one of the device; copies, scalars (0-dim) and indices may."""
    first, free = args[0], []
    if function is aten.copy_.default:
        return
    if function in INDEXED and isinstance(first, OnDevice):
        free = [index for index in args[1] if index is not None]
    protocol_mismatches = [t for t in tensors if not isinstance(t, OnDevice) and not any(t is index for index in free)]
    changed = function._schema.is_mutable and any(tensor is first for tensor in protocol_mismatches)
    if changed or any(tensor.dim() > 0 for tensor in protocol_mismatches):
        both = f"found at least two devices, {DEVICE} and cpu! ({function})"
        raise RuntimeError(f"Expected all tensors to be on the same device, but {both}")


# ------------------------------------------------------------------------------------------------------ generators


CPUGenerator = torch.Generator


class DeviceGenerator(CPUGenerator):
    """A generator of the pretended device."""

    device = DEVICE

    def __init__(self) -> None:
        MADE.append(weakref.ref(self, MADE.remove))


MADE: list[weakref.ref] = []
default = DeviceGenerator()


class AnyGenerator(CPUGenerator):
    """What torch.Generator is."""

    def __new__(cls, device: torch.device | str = "cpu") -> CPUGenerator:
        return DeviceGenerator() if is_here(device) else CPUGenerator()


def drawn(function: Any, args: tuple, kwargs: dict, here: bool) -> Callable:
    """The operation, drawing from the generator given, else from the device's own. Raises for one of another device."""
    given = [value for value in (*args, *kwargs.values()) if isinstance(value, CPUGenerator)]
    for generator in given:
        of_device = any(generator._cdata == made()._cdata for made in MADE)  # PyTorch hands on another object for it
        if of_device != here:
            kinds = ("cuda", "cpu") if here else ("cpu", "cuda")
            raise RuntimeError("Expected a '{}' device type for generator but found '{}'".format(*kinds))

    def draw(*args: Any, **kwargs: Any) -> Any:
        state = torch.default_generator.get_state()
        torch.default_generator.set_state(default.get_state())
        try:
            return function(*args, **kwargs)
        finally:
            default.set_state(torch.default_generator.get_state())
            torch.default_generator.set_state(state)

    return draw if here and not given else function


# ----------------------------------------------------------------------------------------------------- the process


def as_cpu(function: Callable) -> Callable:
    """A function of autocast, whose device type comes first, with the CPU in place of the device."""

    def called(device_type: str = "cuda", *rest: Any, **options: Any) -> Any:
        return function(CPU.type if is_here(device_type) else device_type, *rest, **options)

    return called


def install() -> None:
    """From here on this process has one GPU."""
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=): to the device by an operation
    Tensor.to = moved
    Tensor.cpu = lambda x, **_: moved(x, CPU)
    Tensor.cuda = lambda x, *_, **__: moved(x, DEVICE)
    torch.Generator = AnyGenerator
    torch.autocast = torch.amp.autocast = as_cpu(torch.autocast)
    torch.is_autocast_enabled = as_cpu(torch.is_autocast_enabled)
    torch.get_autocast_dtype = as_cpu(torch.get_autocast_dtype)
    answers = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda *_: "a pretended GPU",
        "get_device_capability": lambda *_: (8, 0),
        "device": lambda *_: contextlib.nullcontext(),
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "manual_seed": default.manual_seed,
        "manual_seed_all": default.manual_seed,
        "get_rng_state": lambda *_: default.get_state(),
        "set_rng_state": lambda state, *_: default.set_state(state) and None,
    }
    for module in (torch.cuda, torch.cuda.random):
        for name in answers.keys() & vars(module).keys():
            setattr(module, name, answers[name])
    Pretence().__enter__()
