"""Names and literals of Python files followed from file to file, without importing any of them."""

import ast
import io
import tokenize
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any


class Computed:
    """Stands for a value that only running the file would tell."""

    def __repr__(self) -> str:
        return "(computed)"


COMPUTED = Computed()


@dataclass(frozen=True)
class Module:
    """One parsed file, by its dotted name."""

    name: str
    path: Path
    content: bytes

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree; raises `SyntaxError` or `ValueError`."""
        return ast.parse(self.content, filename=str(self.path))

    @cached_property
    def names(self) -> dict[str, ast.AST | tuple[str, str]]:
        """Top-level name -> class or value, or (module, name) for what is imported."""
        found: dict[str, ast.AST | tuple[str, str]] = {}
        package = self.name.rpartition(".")[0]
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = node
            elif isinstance(node, ast.ImportFrom):
                parent = f"{package}.{node.module or ''}".rstrip(".") if node.level else node.module or ""
                found.update({alias.asname or alias.name: (parent, alias.name) for alias in node.names})
            elif isinstance(node, ast.Import):
                # `import a.b as c` binds the module; `import a.b` is found by its dotted path.
                found.update({alias.asname: (alias.name, "") for alias in node.names if alias.asname})
            else:
                found.update(_assigned(node))
        return found

    @cached_property
    def comments(self) -> dict[int, tuple[str, bool]]:
        """Line -> (comment, whether it has the line for itself)."""
        tokens = tokenize.tokenize(io.BytesIO(self.content).readline)
        return {
            token.start[0]: (token.string.lstrip("# "), not token.line[: token.start[1]].strip())
            for token in tokens
            if token.type == tokenize.COMMENT
        }


_parsed_once = cache(Module)


def _assigned(node: ast.AST) -> dict[str, ast.AST]:
    if isinstance(node, ast.Assign):
        return {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return {node.target.id: node.value}
    return {}


@dataclass(frozen=True)
class Found:
    """A node and the file it stands in; `owner` is the class in whose body it stands."""

    module: Module
    node: ast.AST | None
    """None: the module itself."""
    owner: ast.ClassDef | None = None


class Reader:
    """Follows names through the files of packages, without importing any."""

    def __init__(self, packages: Mapping[str, Path], transparent: tuple[str, ...] = ()) -> None:
        """Read `packages` (name -> folder); a call of a name in `transparent` is its first argument."""
        self.packages, self.transparent = packages, transparent
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """Return a module of the packages; None if there is no such file."""
        if name not in self._modules:
            self._modules[name] = self._open(name)
        return self._modules[name]

    def _open(self, name: str) -> Module | None:
        package, *rest = name.split(".")
        if package not in self.packages or not rest:
            return None
        stem = self.packages[package].joinpath(*rest)
        for path in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
            if path.is_file():
                return _parsed_once(name, path, path.read_bytes())
        return None

    def used(self, module: Module) -> Iterator[Module]:
        """Yield the module and all modules of its own package that it imports, directly or not."""
        package, waiting, seen = module.name.partition(".")[0], [module], {module.name}
        while waiting:
            one = waiting.pop()
            yield one
            for binding in one.names.values():
                if not isinstance(binding, tuple) or binding[0].partition(".")[0] != package:
                    continue
                for name in (binding[0], f"{binding[0]}.{binding[1]}"):
                    other = self.module(name)
                    if other is not None and name not in seen:
                        seen.add(name)
                        waiting.append(other)

    def look_up(self, module: Module, name: str, depth: int = 0) -> Found | None:
        """Return what `name` is in the module, through imports; None if it is not known."""
        binding = module.names.get(name)
        if binding is None or depth > 20:
            return None
        if not isinstance(binding, tuple):
            return Found(module, binding)
        parent, attribute = binding
        whole = self.module(f"{parent}.{attribute}" if attribute else parent)
        if whole is not None:
            return Found(whole, None)
        other = self.module(parent)
        return self.look_up(other, attribute, depth + 1) if other is not None else None

    def resolve(self, module: Module, node: ast.AST, owner: ast.ClassDef | None = None) -> Found | None:
        """Return what a name or a dotted name stands for, in a module or in the body of a class."""
        if isinstance(node, ast.Name):
            own = members(owner).get(node.id) if owner is not None else None
            return Found(module, own, owner) if own is not None else self.look_up(module, node.id)
        if not isinstance(node, ast.Attribute):
            return None
        base = self.resolve(module, node.value, owner)
        if base is None:
            whole = self.module(ast.unparse(node.value))  # import methods.clip; methods.clip.Clip
            base = Found(whole, None) if whole is not None else None
        if base is None:
            return None
        if base.node is None:
            return self.look_up(base.module, node.attr)
        return self.member(base, node.attr) if isinstance(base.node, ast.ClassDef) else None

    def lineage(self, found: Found) -> Iterator[Found]:
        """Yield a class and its bases as far as their files are known, depth first."""
        yield found
        assert isinstance(found.node, ast.ClassDef)
        for expression in found.node.bases:
            base = self.resolve(found.module, expression)
            if base is not None and isinstance(base.node, ast.ClassDef) and base.node is not found.node:
                yield from self.lineage(base)

    def derives(self, found: Found, module: str, name: str) -> bool:
        """Whether a class is class `name` of `module` or derives from it."""
        wanted = (module, name)
        return any((one.module.name, getattr(one.node, "name", "")) == wanted for one in self.lineage(found))

    def member(self, found: Found, name: str) -> Found | None:
        """Return the value of a class's member, its own or inherited."""
        for one in self.lineage(found):
            assert isinstance(one.node, ast.ClassDef)
            value = members(one.node).get(name)
            if value is not None:
                return Found(one.module, value, one.node)
        return None

    def value(self, found: Found) -> Any:
        """Return the value of an expression; `COMPUTED`, whole or in places, where it is not a literal."""
        node, of = found.node, lambda part: self.value(Found(found.module, part, found.owner))
        result: Any = COMPUTED
        if isinstance(node, ast.Constant):
            result = node.value
        elif isinstance(node, ast.Tuple | ast.List):
            if not any(isinstance(element, ast.Starred) for element in node.elts):
                result = [of(element) for element in node.elts]
                result = tuple(result) if isinstance(node, ast.Tuple) else result
        elif isinstance(node, ast.Dict):
            result = self._dict(node, of)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            operand = of(node.operand)
            result = -operand if isinstance(operand, int | float) else COMPUTED
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.BitOr):
            left, right = of(node.left), of(node.right)
            with suppress(TypeError):
                result = left + right if isinstance(node.op, ast.Add) else left | right
        elif isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in self.transparent:
            result = of(node.args[0])
        elif isinstance(node, ast.Name | ast.Attribute):
            target = self.resolve(found.module, node, found.owner)
            result = self.value(target) if target is not None and target.node is not node else COMPUTED
        return result

    def _dict(self, node: ast.Dict, of: Any) -> Any:
        result: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            item, name = of(value), None if key is None else of(key)
            if key is None and isinstance(item, dict):
                result |= item
            elif key is None or isinstance(name, Computed | list | dict):
                return COMPUTED
            else:
                result[name] = item
        return result

    def meanings(self, found: Found | None) -> dict[str, str]:
        """Return the comments beside the items of a dict, also of those it takes in."""
        node = found.node if found is not None else None
        if found is None or node is None:
            return {}
        if isinstance(node, ast.Dict):
            told: dict[str, str] = {}
            for key, value in zip(node.keys, node.values, strict=True):
                if key is None:
                    told |= self.meanings(Found(found.module, value, found.owner))
                elif isinstance(key, ast.Constant) and (comment := _beside(found.module, key, value)):
                    told[str(key.value)] = comment
            return told
        if isinstance(node, ast.BinOp):
            sides = (Found(found.module, side, found.owner) for side in (node.left, node.right))
            return {name: text for side in sides for name, text in self.meanings(side).items()}
        target = self.resolve(found.module, node, found.owner)
        return self.meanings(target) if target is not None and target.node is not node else {}


def members(node: ast.ClassDef) -> dict[str, ast.AST]:
    """Return the values assigned in the body of a class, by name."""
    return {name: value for child in node.body for name, value in _assigned(child).items()}


def _beside(module: Module, key: ast.expr, value: ast.expr) -> str:
    above: list[str] = []
    line = key.lineno - 1
    while line in module.comments and module.comments[line][1]:
        above.insert(0, module.comments[line][0])
        line -= 1
    behind = module.comments.get(value.end_lineno or value.lineno)
    return " ".join([*above, *([behind[0]] if behind is not None else [])])
