"""A whole model in a `.pt2` file of `torch.export.save`, which is a program.

torch's own loader unpickles what the file tells it to, opens native libraries that lie in it, hands
its texts to Python as expressions and writes its names into code. So what torch gets to read here is
not the file, but an archive made anew: of the members that a model needs and no other, of JSON in
which every text is a plain name or a known expression, and without a single pickle from the file.
"""

import ast
import io
import json
import pathlib
import re
import zipfile
from typing import Any

from ..._core import FileFormatError, path_of, reading, require, zip_members

_MODEL, _SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
_TABLES = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_PLAIN_MEMBERS = ("archive_format", "archive_version", "byteorder", ".data/version")
_TENSOR_MEMBER = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_IGNORED_MEMBER = ".data/serialization_id"

_NAME = re.compile(r"[\w.]*", re.ASCII)
_VERSION = re.compile(r"[\w.+<=-]*", re.ASCII)
# Of torch's operators one reads and writes files. Of functions of sizes torch has its own list.
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file)\w+\.\w+"
    r"|torch\.ops\.higher_order\.(wrap_with_\w+|with_effects|cond)"
    r"|torch\._?sym_\w+|_operator\.\w+|math\.\w+",
    re.ASCII,
)
_SCOPE = re.compile(r"[\w.,;@<>\[\]'\"()]*", re.ASCII)
_CONTAINERS = ("builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", None)

_EXPRESSIONS = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.Call,
    ast.Name,
    ast.Constant,
    ast.keyword,
    ast.Load,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
)
_FUNCTIONS = frozenset(
    """Symbol Integer Float Rational Add Mul Mod PythonMod FloorDiv CleanDiv CeilDiv CeilToInt
    FloorToInt ModularIndexing Max Min Eq Ne Lt Le Gt Ge Equality Unequality StrictLessThan
    LessThan StrictGreaterThan GreaterThan And Or Not Abs ToFloat IntTrueDiv FloatTrueDiv
    TruncToInt PowByNatural""".split()
)
_SYMBOL = re.compile(r"[a-z]+\d+", re.ASCII)
_TRUTH = ("True", "False")
_LONGEST = 2000
"""Characters of one expression."""


def load_program(model: Any, trusted: bool) -> Any:
    """The exported program in a `.pt2` file.

    **Raises:** `ValueError` if the file is not trusted, no `.pt2` file, damaged, or holds more than
    a model: pickles, native libraries, texts that are no plain names or expressions.
    """
    path = path_of("model", model)
    if path.suffix != ".pt2":
        raise ValueError(
            f"A file that holds a whole model ends in .pt2, from `torch.export.save`; `model` is "
            f"{str(path)!r}. Parameters alone need the model's code: `load_torch_weights`."
        )
    if not trusted:
        raise ValueError(
            f"{str(path)!r} is a program, and loading a program may run any code that is in it. "
            "Build the model in Python and load its parameters with `load_torch_weights`, from "
            "`.safetensors` or a state dict, which are data alone; or, for a file that you made "
            "yourself, pass `trusted=True` (`--trusted` on the command line)."
        )
    torch = require("torch", extra="torch")
    with reading(path, "a whole .pt2 file"):
        return torch.export.load(_made_anew(torch, path))


def _made_anew(torch: Any, path: pathlib.Path) -> io.BytesIO:
    with zipfile.ZipFile(path) as archive:
        held = zip_members(archive)
    root = next(iter(held), "").partition("/")[0]
    members = {name.removeprefix(f"{root}/"): data for name, data in held.items()}
    required = {_MODEL, _SAMPLES, *_TABLES, *_PLAIN_MEMBERS}
    if missing := sorted(required - set(members)):
        raise FileFormatError(
            f"the file has no {', '.join(missing)}: it is not whole, or of a torch before 2.8. "
            "Export the model again."
        )
    foreign = [
        name
        for name in members
        if name not in required and name != _IGNORED_MEMBER and not _TENSOR_MEMBER.fullmatch(name)
    ]
    if foreign:
        raise FileFormatError(
            f"the file holds more than a model: {', '.join(foreign)}. Such a member may be native "
            "code or a pickle, which run when they are loaded. Export the model without it."
        )
    members.pop(_IGNORED_MEMBER, None)
    for name in (_MODEL, *_TABLES):
        members[name] = json.dumps(_checked(json.loads(members[name]), "")).encode()
    for table, kind in zip(_TABLES, ("weight", "tensor"), strict=True):
        _check_table(json.loads(members[table]), kind)
    samples = torch.load(io.BytesIO(members[_SAMPLES]), map_location="cpu", weights_only=True)
    torch.save(samples, fresh := io.BytesIO())
    members[_SAMPLES] = fresh.getvalue()
    with zipfile.ZipFile(made := io.BytesIO(), "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{root}/{name}", data)
    made.seek(0)
    return made


def _check_table(table: Any, kind: str) -> None:
    for name, entry in table["config"].items():
        if entry["use_pickle"] is not False or not entry["tensor_meta"]:
            raise FileFormatError(f"{name!r} is pickled, and a pickle can run any code.")
        if not re.fullmatch(rf"{kind}_\d+", entry["path_name"], re.ASCII):
            raise FileFormatError(f"{name!r} is no tensor, but {entry['path_name']!r}.")


def _checked(value: Any, key: str) -> Any:
    """The value of a key in the JSON of a program, if all texts in it are plain; else an error.

    What describes where the program came from is left out, but for the modules' names. So are the
    guards, which torch runs as Python: an example is checked here against the shapes themselves.
    """
    if key == "guards_code":
        return []
    if key == "metadata":
        value = {k: v for k, v in value.items() if k == "nn_module_stack"}
    if isinstance(value, dict):
        for name in value:
            _match(_NAME, name, "name")
        return {name: _checked(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_checked(item, key) for item in value]
    if not isinstance(value, str):
        return value
    if key in ("in_spec", "out_spec"):
        _check_tree(value)
    elif key == "expr_str":
        _check_expression(value)
    elif key not in ("as_string", "as_strings"):  # which are data, to torch too
        patterns = {"target": _OPERATOR, "as_operator": _OPERATOR, "torch_version": _VERSION}
        patterns["nn_module_stack"] = _SCOPE
        _match(patterns.get(key, _NAME), value, key or "text")
    return value


def _match(pattern: re.Pattern[str], text: str, what: str) -> None:
    if not pattern.fullmatch(text):
        raise FileFormatError(f"{text[:80]!r} is no plain {what} of a program.")


def _check_tree(text: str) -> None:
    """The structure of inputs or outputs: tuples, lists and dictionaries with plain keys."""

    def check(node: Any) -> None:
        kind, context = node["type"], node["context"]
        keys = json.loads(context) if isinstance(context, str) else context
        plain = keys is None or (
            isinstance(keys, list)
            and all(isinstance(k, int) or (isinstance(k, str) and _NAME.fullmatch(k)) for k in keys)
        )
        if kind not in _CONTAINERS or not plain:
            raise FileFormatError(
                f"its inputs or outputs are a {kind} of {str(context)[:80]}. Tuples, lists and "
                "dictionaries with plain names are read."
            )
        for child in node["children_spec"]:
            check(child)

    if text:
        _, tree = json.loads(text)
        check(tree)


def _check_expression(text: str) -> None:
    """A size as torch writes it: symbols, whole numbers, and a list of functions of them."""
    plain = len(text) <= _LONGEST
    for node in ast.walk(ast.parse(text, mode="eval")) if plain else ():
        plain = plain and isinstance(node, _EXPRESSIONS) and not isinstance(node, ast.MatMult)
        if isinstance(node, ast.Call):
            plain = plain and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
        elif isinstance(node, ast.Name):
            plain = plain and bool(
                node.id in _FUNCTIONS or node.id in _TRUTH or _SYMBOL.fullmatch(node.id)
            )
        elif isinstance(node, ast.Constant):
            plain = plain and _is_plain_constant(node.value)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            plain = plain and isinstance(node.right, ast.Constant) and node.right.value in range(9)
    if not plain:
        raise FileFormatError(f"{text[:80]!r} is no size of a program.")


def _is_plain_constant(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_SYMBOL.fullmatch(value))
    return isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63)
