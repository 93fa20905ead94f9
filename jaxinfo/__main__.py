"""The command line: `jaxinfo demo`, `jaxinfo analyze MODEL`."""

import argparse
import contextlib
import importlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from ._core import FileFormatError, reading, require
from .data import digits
from .network import from_torch, load_torch_weights, topology_of
from .report import Report, analyze, as_json, write_report
from .report._report import as_row
from .train import fit

_EXAMPLES = """\
examples:
  jaxinfo demo
      train a small classifier of handwritten digits, measure it, write jaxinfo-report/
  jaxinfo analyze mypackage.models:make_mlp --input-shape 784
      measure the model that the function make_mlp() returns
  jaxinfo analyze trained.eqx --factory mypackage.models:make_mlp --input-shape 784
      the same, with the parameters that eqx.tree_serialise_leaves saved in trained.eqx
  jaxinfo analyze trained.safetensors --factory mypackage.models:make_torch_net --input-shape 784
      a torch model and its state dict (.safetensors, .pt, .npz)
  jaxinfo analyze exported.pt2 --trusted --input-shape 3,32,32
      a whole torch model, as saved by torch.export.save; needs no code, and may run what is in it
  jaxinfo analyze mypackage.models:make_cnn --input-shape 1,28,28 --layers conv1,fc --bins 8
      two layers only, with 8 bins for each neuron

Compiled programs are kept in ~/.cache/jaxinfo, or in $JAX_COMPILATION_CACHE_DIR; with
JAX_ENABLE_COMPILATION_CACHE=0 none are.
"""


# What is wrong with an input, an option or a model, and says so itself.
_EXPECTED = (
    ImportError,
    ValueError,
    KeyError,
    TypeError,
    OSError,
    NotImplementedError,  # operators without a counterpart
    ArithmeticError,  # an import that differs from its original
)


def command() -> int:
    """`main`, with compiled programs kept between runs, unless JAX is told another place for them."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(caches) / "jaxinfo"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # most are small
    return main()


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        require("matplotlib", extra="report")  # before minutes of work that would end without it
        report = arguments.run(arguments)
        if arguments.json:
            print(json.dumps(as_json(report)))
        else:
            _print_table(report)
        page = write_report(report, arguments.out)
    except _EXPECTED as error:
        print(f"jaxinfo: {error}", file=sys.stderr)
        return 2
    print(f"Report: {page}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxinfo",
        description="Measure what the layers of a network tell each other, in bits.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="train a digit classifier, measure it, write a report")
    demo.set_defaults(run=_demo)
    own = commands.add_parser(
        "analyze",
        help="measure a model of your own",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own.set_defaults(run=_analyze)
    own.add_argument(
        "model",
        help="package.module:function that returns a model (JAX or torch), a torch program (.pt2), "
        "or a file of parameters (.eqx, .safetensors, .pt, .npz)",
    )
    own.add_argument("--factory", help="package.module:function, for a file of parameters")
    own.add_argument(
        "--trusted",
        action="store_true",
        help="load a program (.pt2), which may run what is in it: for a file that you made yourself",
    )
    own.add_argument(
        "--input-shape", required=True, type=_shape, help="of one example, such as 784 or 1,28,28"
    )
    own.add_argument("--layers", type=lambda text: text.split(","), help="names; default: all")
    for command in (demo, own):
        command.add_argument("--samples", type=int, default=100_000, help="default: %(default)s")
        command.add_argument("--bins", type=int, default=16, help="default: %(default)s")
        command.add_argument("--seed", type=int, default=0, help="default: %(default)s")
        command.add_argument("--out", default="jaxinfo-report", help="default: %(default)s")
        command.add_argument("--json", action="store_true", help="print JSON, not a table")
    return parser


def _demo(arguments: argparse.Namespace) -> Report:
    images, labels = digits()
    x = images.reshape(len(images), -1)
    train, test = slice(0, 1437), slice(1437, None)
    model_key, fit_key, key = jr.split(jr.key(arguments.seed), 3)
    epochs = 40
    with _progress() as advance:
        model, run = fit(
            _classifier(model_key),
            _cross_entropy,
            x[train],
            labels[train],
            optimiser=optax.adam(3e-3),
            epochs=epochs,
            batch_size=32,
            key=fit_key,
            on_epoch=lambda epoch, _: advance("training", epoch + 1, epochs),
        )
        accuracy = jnp.mean(jnp.argmax(jax.vmap(model)(x[test]), axis=1) == labels[test])
        return analyze(
            topology_of(model, x[0]),
            key=key,
            title="Digit classifier",
            samples=arguments.samples,
            bins=arguments.bins,
            training={
                "data": "UCI handwritten digits, 8 x 8",
                "epochs": epochs,
                "final loss": round(float(run.loss[-1]), 4),
                "test accuracy": round(float(accuracy), 4),
            },
            progress=advance,
        )


def _classifier(key: Any) -> eqx.nn.Sequential:
    """64 -> 20 sigmoid -> 16 tanh -> 12 ReLU -> 10."""
    keys = jr.split(key, 4)
    return eqx.nn.Sequential(
        [
            eqx.nn.Linear(64, 20, key=keys[0]),
            eqx.nn.Lambda(jax.nn.sigmoid),
            eqx.nn.Linear(20, 16, key=keys[1]),
            eqx.nn.Lambda(jnp.tanh),
            eqx.nn.Linear(16, 12, key=keys[2]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Linear(12, 10, key=keys[3]),
        ]
    )


def _cross_entropy(model: Any, x: Any, y: Any) -> Any:
    logits = jax.vmap(model)(x)
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, y))


def _analyze(arguments: argparse.Namespace) -> Report:
    model, shape = _model(arguments), arguments.input_shape
    with _progress() as advance:
        return analyze(
            _of_floats_or_tokens(lambda dtype: topology_of(model, jnp.zeros(shape, dtype))),
            key=jr.key(arguments.seed),
            title=arguments.model,
            layers=arguments.layers,
            samples=arguments.samples,
            bins=arguments.bins,
            progress=advance,
        )


def _model(arguments: argparse.Namespace) -> Any:
    """The model that the command line names, as a JAX callable."""
    path, shape = arguments.model, arguments.input_shape
    if ":" in path:
        return _in_jax(_made_by(path), shape)
    if path.endswith(".pt2"):
        return from_torch(path, trusted=arguments.trusted)
    if arguments.factory is None:
        raise ValueError(
            f"{path!r} is a file of parameters, which needs the code that uses them: add "
            "`--factory package.module:function`. (Or pass package.module:function in its place.)"
        )
    model = _in_jax(_made_by(arguments.factory), shape)
    if path.endswith((".safetensors", ".npz", ".pt", ".pth", ".bin")):
        return load_torch_weights(model, path)
    with reading(pathlib.Path(path), "a file of this model's leaves"), open(path, "rb") as file:
        model = eqx.tree_deserialise_leaves(file, model)
        if file.read(1):
            raise FileFormatError("bytes are left over after the last leaf.")
    return model


def _in_jax(model: Any, shape: tuple[int, ...]) -> Any:
    """A torch model imported; any other as it is."""
    torch = sys.modules.get("torch")  # a torch model exists only where torch was imported
    if torch is None or not isinstance(model, torch.nn.Module):
        return model

    def imported(dtype: Any) -> Any:
        noise = np.random.default_rng(0).normal(size=(2, *shape))
        return from_torch(
            model, np.zeros_like(noise, np.int64) if dtype is int else noise.astype(np.float32)
        )

    return _of_floats_or_tokens(imported)


def _of_floats_or_tokens(make: Callable[[Any], Any]) -> Any:
    """`make(float)`, or, for a model that takes no such input but numbers of tokens, `make(int)`."""
    try:
        return make(float)
    except (TypeError, ValueError) as error:
        with contextlib.suppress(TypeError, ValueError):
            return make(int)
        raise error


def _made_by(path: str) -> Any:
    """Call `package.module:function`, found also in the current folder."""
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or not name:
        raise ValueError(f"A factory is written package.module:function; got {path!r}.")
    sys.path.insert(0, str(pathlib.Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    finally:
        sys.path.pop(0)
    if not hasattr(module, name):
        raise ValueError(f"Module {module_name!r} has no function {name!r}.")
    return getattr(module, name)()


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(size) for size in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"expected sizes such as 784 or 1,28,28; got {text!r}")
    return shape


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int | float, int], None]]:
    """A progress bar on the terminal: call it with what is being done, how much is, of how much."""
    rich = require("rich.progress", extra="report")
    console = require("rich.console", extra="report").Console(stderr=True)
    with rich.Progress(*rich.Progress.get_default_columns(), console=console) as bar:
        tasks: dict[str, Any] = {}

        def advance(what: str, done: int | float, total: int) -> None:
            stage = "training" if what == "training" else "measuring"
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], description=what, completed=done)

        yield advance


def _print_table(report: Report) -> None:
    rich = require("rich.table", extra="report")
    console = require("rich.console", extra="report").Console()
    table = rich.Table(
        title=report.title, box=rich.box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False
    )
    # Without the bias, 80 columns hold the row; no name is cut short.
    rows = [as_row(layer) for layer in report.layers]
    columns = [column for column in rows[0] if column != "bias"]
    for column in columns:
        if column in ("layer", "activation"):
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[column] for column in columns))
    console.print(table)
    console.print("All quantities in bits; ± one standard error.")
    for name, value in {**report.graph, **(report.training or {})}.items():
        console.print(f"{name}: {value:.3f} bits" if name in report.graph else f"{name}: {value}")


if __name__ == "__main__":
    sys.exit(command())
