"""The complete state of training, as arrays by name: of modules, optimizers and all the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from harness.systems.torch.generators import generator_state, is_generator, set_generator

__all__ = ["Entry", "array_of", "entries", "parts_among"]

_STATISTICS = {"running_mean": "moving_mean", "running_var": "moving_variance"}
"""BN's moving statistics, by the names that the protocol has for them."""

_LATE = {
    "Adam": ("exp_avg", "exp_avg_sq"),
    "AdamW": ("exp_avg", "exp_avg_sq"),
    "NAdam": ("exp_avg", "exp_avg_sq"),
    "RAdam": ("exp_avg", "exp_avg_sq"),
    "Adamax": ("exp_avg", "exp_inf"),
    "Adadelta": ("square_avg", "acc_delta"),
    "RMSprop": ("square_avg",),
    "SGD": (),
}
"""What an optimizer makes in its first step alone, zeros until then: names must not come late."""

_LATE_BY_OPTION = {
    "amsgrad": "max_exp_avg_sq",
    "momentum": "momentum_buffer",
    "centered": "grad_avg",
}
"""What it makes besides where an option of a group of weights asks for it."""


class Entry:
    """An array of the state: how it is read, and how it is set."""

    def __init__(self, get: Any, put: Any) -> None:
        self.get, self.put = get, put


def parts_among(named: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return of named values those that hold state: the first of a name, and each value once.

    Modules, optimizers, schedulers and whatever else has ``state_dict`` and ``load_state_dict``,
    generators, and the generator that a DataLoader was given, if anything follows from it.
    """
    found: dict[str, Any] = {}
    for name, value in named:
        if isinstance(value, torch.utils.data.DataLoader):
            name, value = name + "_generator", _drawn_from(value)
        stateful = hasattr(value, "state_dict") and hasattr(value, "load_state_dict")
        if isinstance(value, type) or not (stateful or is_generator(value)):
            continue
        if name not in found and all(value is not other for other in found.values()):
            found[name] = value
    return _outermost(found)


def _drawn_from(loader: Any) -> Any:
    """Return a DataLoader's generator, None if it is drawn from in vain.

    Each pass draws the seed of its workers; without workers, and where another orders the
    samples, nothing follows from it.
    """
    samplers = loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None)
    holders = [vars(one) for one in (*samplers, loader.dataset) if hasattr(one, "__dict__")]
    held = any(value is loader.generator for holder in holders for value in holder.values())
    return loader.generator if held or loader.num_workers else None


def _outermost(parts: dict[str, Any]) -> dict[str, Any]:
    """Leave out modules that lie within others."""
    inner = {
        id(module)
        for part in parts.values() if isinstance(part, torch.nn.Module)
        for module in part.modules() if module is not part
    }  # fmt: skip
    return {name: part for name, part in parts.items() if id(part) not in inner}


def entries(parts: Mapping[str, Any]) -> dict[str, Entry]:
    """Return every array of the state of named parts, by name.

    The names of the module that is trained stand as they are, those of another behind the name of
    its part. Moments of an optimizer are ``PART/WEIGHT/exp_avg``; the rest is ``progress/...``.
    """
    modules = {n: p for n, p in parts.items() if isinstance(p, torch.nn.Module)}
    optimizers = {n: p for n, p in parts.items() if isinstance(p, torch.optim.Optimizer)}
    trained = _trained(modules, optimizers.values())
    found: dict[str, Entry] = {}
    names: dict[int, str] = {}
    for part, module in sorted(modules.items(), key=lambda item: item[0] != trained):
        found.update(_of_module(module, "" if part == trained else part + "/", names))
    for part, optimizer in optimizers.items():
        found.update(_of_optimizer(optimizer, part, names))
    for part, value in parts.items():
        place = "progress/" + part
        if is_generator(value):
            found[place] = Entry(
                lambda value=value: generator_state(value),
                lambda array, value=value: set_generator(value, array),
            )
        elif part not in modules and part not in optimizers:
            found.update(_of_tree(value, place))
    return found


def _trained(modules: Mapping[str, Any], optimizers: Iterable[Any]) -> str:
    """Return the part whose parameters the optimizers have; the first where none has any."""
    owned = {id(p) for opt in optimizers for group in opt.param_groups for p in group["params"]}
    sizes = {n: sum(id(p) in owned for p in m.parameters()) for n, m in modules.items()}
    return max(sizes, key=lambda name: sizes[name]) if sizes else ""


def _of_module(module: Any, prefix: str, names: dict[int, str]) -> Iterator[tuple[str, Entry]]:
    """Yield parameters, then buffers; `names` gets those of parameters by their identity."""
    learned = {id(weight) for weight in module.parameters()}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        # What DataParallel and AveragedModel put before every name.
        name = prefix + (name[len("module.") :] if name.startswith("module.") else name)
        names.setdefault(id(tensor), name)
        head, dot, last = name.rpartition(".")
        # A buffer that is no statistic is a table or a constant, such as a mean of images.
        weighs = id(tensor) in learned or last in _STATISTICS
        name = head + dot + _STATISTICS.get(last, last)
        counts = not (weighs and tensor.dtype.is_floating_point)
        yield "progress/" * counts + name, _of_tensor(tensor)


def _of_tensor(tensor: Any) -> Entry:
    def put(array: Any) -> None:
        with torch.no_grad():
            tensor.copy_(torch.as_tensor(np.array(array)).reshape(tensor.shape))

    return Entry(lambda: array_of(tensor), put)


def array_of(tensor: Any) -> Any:
    """Return a copy of a tensor as an array; NumPy has no bfloat16."""
    found = tensor.detach().cpu()
    if found.dtype is torch.bfloat16:
        found = found.float()
    return found.numpy().copy()


def _of_optimizer(optimizer: Any, part: str, names: Mapping[int, str]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    kind = type(optimizer).__name__
    for g, group in enumerate(optimizer.param_groups):
        asked = [slot for key, slot in _LATE_BY_OPTION.items() if group.get(key)]
        late = [*_LATE[kind], *asked] if kind in _LATE else []
        for p, weight in enumerate(group["params"]):
            name = names.get(id(weight), "group%d/%d" % (g, p))
            state = optimizer.state.get(weight, {})
            slots = {k: v for k, v in state.items() if _is_slot(v)}
            for slot in dict.fromkeys([*late, *slots]):
                if weight.requires_grad:
                    found["%s/%s/%s" % (part, name, slot)] = _slot(optimizer, weight, slot)
        found.update(_of_rates(optimizer, g, "progress/%s/group%d" % (part, g)))
    found["progress/%s/steps" % part] = _steps(optimizer)
    return found


def _is_slot(value: Any) -> bool:
    return bool(torch.is_tensor(value) and value.dim() > 0)


def _slot(optimizer: Any, weight: Any, slot: str) -> Entry:
    def get() -> Any:
        value = optimizer.state.get(weight, {}).get(slot)
        return np.zeros(weight.shape, np.float32) if value is None else array_of(value)

    def put(array: Any) -> None:
        state = optimizer.state[weight]
        if state.get(slot) is None:
            if not np.any(array):
                return  # as it is before the first step
            state[slot] = torch.zeros_like(weight)
        _of_tensor(state[slot]).put(array)

    return Entry(get, put)


def _of_rates(optimizer: Any, g: int, place: str) -> dict[str, Entry]:
    """Return what a group of weights is trained with: rate, decay, and the like."""
    group = optimizer.param_groups[g]
    kept = {k: v for k, v in group.items() if k != "params" and _is_plain(v)}
    return {place + "/" + key: _of_key(group, key) for key in kept}


def _steps(optimizer: Any) -> Entry:
    """Return how many steps each weight has had, one number a weight."""
    weights = [w for group in optimizer.param_groups for w in group["params"]]

    def get() -> Any:
        steps = (optimizer.state.get(w, {}).get("step", 0) for w in weights)
        return np.array([float(step) for step in steps])

    def put(array: Any) -> None:
        for weight, step in zip(weights, np.asarray(array).tolist()):
            state = optimizer.state.get(weight) if not step else optimizer.state[weight]
            if not state:
                continue
            before = state.get("step")
            state["step"] = torch.tensor(step) if torch.is_tensor(before) or not before else step

    return Entry(get, put)


def _of_tree(value: Any, place: str) -> dict[str, Entry]:
    """Return the leaves of what ``state_dict`` gives; each is set by loading the whole again."""
    found: dict[str, Entry] = {}
    for path, leaf in _leaves(value.state_dict(), ()):
        found["/".join((place, *map(str, path)))] = Entry(
            lambda leaf=leaf: leaf, lambda array, path=path: _load(value, path, array)
        )
    return found


def _leaves(tree: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the path and the array of every number, tensor and text of nested values."""
    if isinstance(tree, Mapping):
        for key in tree:
            yield from _leaves(tree[key], (*path, key))
    elif isinstance(tree, (list, tuple)):
        for i, item in enumerate(tree):
            yield from _leaves(item, (*path, i))
    elif torch.is_tensor(tree):
        yield path, array_of(tree)
    elif _is_plain(tree):
        yield path, _leaf(tree)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, np.generic, np.ndarray))


def _leaf(value: Any) -> Any:
    if value is None:
        return np.zeros(0)
    if isinstance(value, str):
        return np.frombuffer(value.encode(), np.uint8)
    return np.array(value)


def _of_key(holder: Any, key: Any) -> Entry:
    def put(array: Any) -> None:
        holder[key] = _like(holder[key], array)

    return Entry(lambda: _leaf(holder[key]), put)


def _like(before: Any, array: Any) -> Any:
    """Return an array's value as one of the type that stood there."""
    array = np.asarray(array)
    if torch.is_tensor(before):
        return torch.as_tensor(np.array(array)).to(before)
    if isinstance(before, np.ndarray):
        return array
    if isinstance(before, str):
        return array.tobytes().decode()
    if before is None:
        return None if array.size == 0 else array.item()
    return type(before)(array.item())


def _load(value: Any, path: tuple[Any, ...], array: Any) -> None:
    def changed(tree: Any, rest: tuple[Any, ...]) -> Any:
        if not rest:
            return _like(tree, array)
        if isinstance(tree, Mapping):
            return {k: changed(v, rest[1:]) if k == rest[0] else v for k, v in tree.items()}
        return type(tree)(changed(v, rest[1:]) if i == rest[0] else v for i, v in enumerate(tree))

    value.load_state_dict(changed(value.state_dict(), path))
