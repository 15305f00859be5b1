"""The source itself: who imports whom, nothing private, nothing unsafe, docstrings, short files.

Each rule is a function of a module's source, tried on a line that breaks it before it is applied to
the tree.
"""

import ast
import functools
import itertools
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "tfrec_attn"

# A room imports from itself and from the rooms before it; commands import from all.
ROOMS = [
    "errors",
    "extensions",
    "files",
    "keras_versions",
    "layers",
    "losses",
    "config",
    "cli",
    "runtime",
    "pages",
    "replay",
    "data",
    "optimizers",
    "evaluation",
    "models",
    "runs",
    "lists",
    "training",
    "studies",
]

# Rooms whose modules, and commands, start quickly because they import TensorFlow late or never.
WITHOUT_TENSORFLOW = (
    "errors",
    "extensions",
    "config",
    "cli",
    "pages",
    "data.reading",
    "data.quality",
    "replay.measured_run",
    "runs.run",
)

# What export and serving share, of which nothing knows a model: servables are tried and served with
# nothing else of the package.
SHARED = (
    "errors",
    "extensions",
    "files",
    "config",
    "cli",
    "runtime.process",
    "runtime.saved_model",
    "runtime.runner",
    "data.reading",
    "data.sequences.copies",
    "data.sequences.encoding",
    "data.sequences.event_filters",
    "data.sequences.filter_report",
    "data.sequences.ids",
    "data.sequences.k_core",
    "data.sequences.sessions",
    "data.sequences.vocabulary",
    "lists.file_histories",
    "lists.user_histories",
    "replay",
)


def modules_of(package):
    """Dotted name inside the package ("" for its own __init__) -> path."""
    result = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        result[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return result


MODULES = modules_of(PACKAGE)
SOURCES = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}

EXPORT, SERVING = (
    {
        name: path.read_text(encoding="utf-8")
        for name, path in modules_of(REPOSITORY / package).items()
    }
    for package in ("export", "serving")
)
# What is shipped, whatever package it is in.
SHIPPED = {
    f"{package}.{name}".rstrip("."): source
    for package, sources in (("tfrec_attn", SOURCES), ("export", EXPORT), ("serving", SERVING))
    for name, source in sources.items()
}


parse = functools.cache(ast.parse)


def wrong_in(sources, rule):
    """Name of a module -> what breaks the rule in it, without those that keep it."""
    assert sources
    return {name: found for name, source in sources.items() if (found := rule(name, source))}


@functools.cache
def imports(source, top_level_only=False):
    """Dotted names that a source imports; `from a import b` counts as a.b, `from .a import b` as
    .a.b.
    """
    tree = parse(source)
    nodes = list(_at_import(tree.body)) if top_level_only else list(ast.walk(tree))
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = f"{node.module}." if node.module else ""
            found += [f"{'.' * node.level}{module}{alias.name}" for alias in node.names]
    return found


def _at_import(body):
    """Statements that run when a module is imported."""
    for node in body:
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for field in ("body", "orelse", "finalbody"):
                yield from _at_import(getattr(node, field, None) or [])
            for handler in getattr(node, "handlers", []):
                yield from _at_import(handler.body)


def module_named(imported):
    """The module of the package that an imported name lies in, or None for one from elsewhere."""
    if imported != "tfrec_attn" and not imported.startswith("tfrec_attn."):
        return None
    name = imported.removeprefix("tfrec_attn").removeprefix(".")
    while name not in MODULES:
        name = name.rpartition(".")[0]
    return name


COMMANDS = sorted(
    name for name, source in SOURCES.items() if '\nif __name__ == "__main__":' in source
)


def room(name):
    """The room of a module, or None for a command at the top."""
    first = name.partition(".")[0]
    return None if first in COMMANDS else first


def upward_imports(name, source):
    """Imports of a module that go to a later room, to a command, or from one model to another."""
    own, wrong = room(name), []
    for imported in imports(source):
        other = module_named(imported)
        if other is None or (own is None and other != ""):
            continue
        elsewhere = (
            other == "" or room(other) is None or ROOMS.index(room(other)) > ROOMS.index(own)
        )
        sibling = own == "models" == room(other) and not other.startswith("models.base")
        if elsewhere or (sibling and name != "models"):
            wrong.append(imported)
    return wrong


@pytest.mark.parametrize(
    ("name", "line", "wrong"),
    [
        ("losses", "from tfrec_attn.models import base", True),
        ("losses", "import tfrec_attn.models.base", True),
        ("losses", "def f():\n  from tfrec_attn.training import fitting", True),
        ("models.sasrec", "from tfrec_attn.models.attrec import AttRec", True),
        ("models.sasrec", "from tfrec_attn.models import attrec", True),
        ("models.sasrec", "from tfrec_attn.models.base import SequenceModel", False),
        ("models.base", "from tfrec_attn.models.sasrec import SASRec", True),
        ("data.batches", "from tfrec_attn.data.sequences.splits import Split", False),
        ("data.batches", "from tfrec_attn import models", True),
        ("layers.rows", "from tfrec_attn.layers import SinusoidalPositions", False),
        ("config", "from tfrec_attn.errors import ConfigError", False),
        ("config", "import tensorflow", False),
        ("training.fitting", "from tfrec_attn.train import main", True),
        ("train", "from tfrec_attn.training.fitting import fit", False),
    ],
)
def test_the_rule_of_direction(name, line, wrong):
    assert bool(upward_imports(name, line)) == wrong


def test_the_package_has_these_rooms_and_commands():
    top = {name.partition(".")[0] for name in MODULES} - {"", "export", "serving"}
    assert top == {*ROOMS, *(name for name in COMMANDS if "." not in name)}


def test_every_command_runs_its_main():
    block = '\nif __name__ == "__main__":\n'
    commands = {name: source for name, source in SHIPPED.items() if block in source}
    assert len(commands) > 10
    for name, source in commands.items():
        assert source.partition(block)[2] == "    sys.exit(main())\n", name


def test_imports_go_one_way():
    assert wrong_in(SOURCES, upward_imports) == {}


def circles(needs):
    """Modules that need themselves, given module -> those that it needs."""

    def reached(name, seen):
        for other in needs.get(name, ()):
            if other not in seen:
                seen.add(other)
                reached(other, seen)
        return seen

    return sorted(name for name in needs if name in reached(name, set()))


def test_the_rule_of_circles():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circles({"a": {"b"}, "b": {"c"}}) == []


def test_no_modules_import_each_other():
    needs = {
        name: {module_named(one) for one in imports(source)} - {None}
        for name, source in SOURCES.items()
    }
    assert circles(needs) == []


def foreign(source, *packages):
    """Imports from one of the packages; `a.b` is one too."""
    return [
        one
        for one in imports(source)
        if any(f"{one}.".startswith(f"{package}.") for package in packages)
    ]


def wrongly_named(name, source):
    """Relative imports in tfrec_attn; in export and serving, whose modules have two names, those
    that work for one of them only.
    """
    package = name.partition(".")[0]
    relative = [one for one in imports(source) if one.startswith(".")]
    if package == "tfrec_attn":
        return relative
    highest = "." * (max(1, name.count(".")) + 1)
    return foreign(source, package, f"tfrec_attn.{package}") + [
        one for one in relative if one.startswith(highest)
    ]


@pytest.mark.parametrize(
    ("name", "line", "wrong"),
    [
        ("tfrec_attn.train", "from .config import load", True),
        ("tfrec_attn.train", "from tfrec_attn.config import load", False),
        ("export.verify", "from .runner import Runner", False),
        ("export.verify", "from . import runner", False),
        ("export.verify", "def f():\n  from export import runner", True),
        ("export.verify", "import export.runner", True),
        ("export.verify", "import tfrec_attn.export.runner", True),
        ("export.verify", "from ..config import load", True),
        ("export.verify", "from .. import config", True),
        ("export.a.b", "from ..runner import Runner", False),
        ("export.a.b", "from ...config import load", True),
    ],
)
def test_the_rule_of_two_names(name, line, wrong):
    assert bool(wrongly_named(name, line)) == wrong


def test_imports_work_under_every_name():
    assert wrong_in(SHIPPED, wrongly_named) == {}


def keras_by_version(name, source):
    """What asks a module which Keras the process runs, outside the folder for that."""
    if name == "tfrec_attn" or name.startswith("tfrec_attn.keras_versions"):
        return []
    return re.findall(r"IS_KERAS_3|\btf_keras\b|TF_USE_LEGACY_KERAS", source)


@pytest.mark.parametrize(
    ("name", "line", "wrong"),
    [
        ("tfrec_attn.runs.weights", "from tfrec_attn.keras_versions import IS_KERAS_3", True),
        ("export.saved_model", "import tf_keras", True),
        ("export.saved_model", "import tf.keras", False),
        ("tfrec_attn.keras_versions.model", "if IS_KERAS_3: pass", False),
    ],
)
def test_the_rule_of_versions(name, line, wrong):
    assert bool(keras_by_version(name, line)) == wrong


def test_one_folder_knows_the_version_of_keras():
    assert wrong_in(SHIPPED, keras_by_version) == {}


@pytest.mark.parametrize("folder", ["export", "serving", "configs"])
def test_the_package_has_links_to_what_travels_with_it(folder):
    assert (PACKAGE / folder).readlink() == Path("..", folder)


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        (
            "tfrec_attn",
            ("export", "serving", "benchmarks", "tests", "tfrec_attn.export", "tfrec_attn.serving"),
        ),
        ("export", ("serving", "benchmarks", "tests", "tfrec_attn.serving")),
        ("serving", ("export", "benchmarks", "tests", "tfrec_attn.export")),
    ],
)
def test_the_three_stages_meet_in_files(folder, forbidden):
    assert all(
        foreign(f"import os\ndef f():\n  from {one} import x", *forbidden) for one in forbidden
    )
    paths = list((REPOSITORY / folder).rglob("*.py"))
    assert paths
    assert {
        str(path): found
        for path in paths
        if (found := foreign(path.read_text(encoding="utf-8"), *forbidden))
    } == {}


def absolute(module, imported):
    """The name in the package of what a module imports as .a or ..a."""
    name = imported.lstrip(".")
    parents = module.split(".")[: -(len(imported) - len(name))]
    return ".".join([*parents, name])


def needed_in_export(name, sources):
    """Modules of the package export that one needs, now or later; itself only where it needs itself
    again.
    """
    found, waiting = set(), [name]
    while waiting:
        module = waiting.pop()
        names = [absolute(module, one) for one in imports(sources[module]) if one.startswith(".")]
        modules = {one if one in sources else one.rpartition(".")[0] for one in names} - found
        found |= modules
        waiting += modules
    return found


def test_the_rule_of_needs():
    sources = {
        "a": "from .b import x",
        "b": "def f():\n  from . import c",
        "c": "import os",
        "d": "from . import a",
    }
    assert needed_in_export("a", sources) == {"b", "c"}
    assert needed_in_export("d", sources) == {"a", "b", "c"}
    assert "a" in needed_in_export("a", {**sources, "c": "from .a import y"})
    nested = {"f.a": "from ..b import x\nfrom .c import y", "f.c": "from . import c", "b": ""}
    assert needed_in_export("f.a", nested) == {"b", "f.c"}


def test_modules_of_export_do_not_need_each_other():
    needed = {name: needed_in_export(name, EXPORT) for name in EXPORT}
    assert [name for name in needed if name in needed[name]] == []
    assert [name for name in needed if "command" in needed[name]] == ["__main__"]


def test_the_package_export_itself_imports_nothing():
    assert imports(EXPORT[""]) == []


def not_shared(source):
    """Imports of code that knows the models."""
    return [
        one
        for one in foreign(source, "tfrec_attn", "tensorflow_recommenders", "tf_keras")
        if not any(f"{one}.".startswith(f"tfrec_attn.{shared}.") for shared in SHARED)
    ]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("from tfrec_attn.errors import ConfigError", False),
        ("from tfrec_attn.runtime import saved_model", False),
        ("from tfrec_attn.runtime import distribution", True),
        ("from tfrec_attn.models import SASRec", True),
        ("import tfrec_attn", True),
        ("import tf_keras", True),
    ],
)
def test_the_rule_of_what_is_shared(line, wrong):
    assert bool(not_shared(line)) == wrong


def test_what_is_shared_needs_nothing_else():
    shared = [name for name in MODULES if name and not not_shared(f"import tfrec_attn.{name}")]
    assert {name: found for name in shared if (found := not_shared(SOURCES[name]))} == {}


def test_serving_needs_only_what_is_shared():
    assert wrong_in(SERVING, lambda name, source: not_shared(source)) == {}


def test_a_servable_is_tried_without_the_code_that_made_it():
    needed = {"verify"} | needed_in_export("verify", EXPORT)
    assert {one: found for one in needed if (found := not_shared(EXPORT[one]))} == {}


def loaded_with(name):
    """Modules of the package that are loaded when one is imported, itself included."""
    done, waiting = set(), [name]
    while waiting:
        one = waiting.pop()
        if one in done:
            continue
        done.add(one)
        waiting += [
            module
            for imported in imports(SOURCES[one], top_level_only=True)
            if (module := module_named(imported)) is not None
        ]
        waiting += [parent for parent in ("", one.rpartition(".")[0]) if parent in MODULES]
    return done


HEAVY = ("tensorflow", "tf_keras", "keras", "tensorflow_recommenders")


def test_the_rule_of_lateness():
    assert foreign("import os, tensorflow as tf", *HEAVY)
    assert foreign("from tensorflow import keras", *HEAVY)
    assert "tensorflow" not in imports("def f():\n  import tensorflow", top_level_only=True)
    for text in (
        "if x:\n  import tensorflow",
        "try:\n  pass\nexcept E:\n  import tensorflow",
        "class A:\n  import tensorflow",
    ):
        assert "tensorflow" in imports(text, top_level_only=True)
    assert {"", "config", "errors"} <= loaded_with("config")


def test_these_load_without_tensorflow():
    light = [
        name
        for name in MODULES
        if f"{name}.".startswith(tuple(f"{one}." for one in WITHOUT_TENSORFLOW)) or name in COMMANDS
    ]
    heavy = {
        (name, one): imported
        for name in light
        for one in loaded_with(name)
        for imported in imports(SOURCES[one], top_level_only=True)
        if imported.partition(".")[0] in HEAVY
    }
    assert light
    assert heavy == {}


PRIVATE = ("tensorflow.python", "tensorflow.core", "__internal__", "tf_keras.src", "keras.src")


def private_names(source):
    """Dotted names in the code, not in texts or comments, that reach into private parts."""
    names = imports(source)
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Attribute):
            names.append(ast.unparse(node))
    return [name for name in names if any(f".{private}." in f".{name}." for private in PRIVATE)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from tensorflow.python.ops import array_ops", True),
        ("from tensorflow import python", True),
        ("x = tf.__internal__.tf2.enabled()", True),
        ("import tf_keras.src.engine", True),
        ("from keras.src import ops", True),
        ("x = tf.keras.src.y", True),
        ("import tensorflow as tf  # not tensorflow.python", False),
        ("x = tf.keras.layers.Layer", False),
    ],
)
def test_the_rule_of_privacy(line, found):
    assert bool(private_names(line)) == found


def test_nothing_private_of_tensorflow():
    assert wrong_in(SHIPPED, lambda name, source: private_names(source)) == {}


UNSAFE_MODULES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
UNSAFE_CALLS = (
    "print",
    "eval",
    "exec",
    "compile",
    "__import__",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.full_load",
)


def unsafe(source):
    """Calls and imports that the library does without."""
    found = foreign(source, *UNSAFE_MODULES) + [
        one for one in imports(source) if one in UNSAFE_CALLS
    ]
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Call):
            found += [ast.unparse(node.func)] if ast.unparse(node.func) in UNSAFE_CALLS else []
            found += [
                keyword.arg for keyword in node.keywords if keyword.arg in ("allow_pickle", "shell")
            ]
    return found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("print(1)", True),
        ("def f():\n  return eval('1')", True),
        ("exec('1')", True),
        ("import pickle", True),
        ("from pickle import loads", True),
        ("yaml.load(text, Loader=x)", True),
        ("from yaml import load", True),
        ("np.load(path, allow_pickle=True)", True),
        ("yaml.safe_load(text)", False),
        ("ast.literal_eval(text)", False),
        ("model.compile()", False),
        ("x = 'print(1)'", False),
    ],
)
def test_the_rule_of_safety(line, found):
    assert bool(unsafe(line)) == found


def rewritten(source):
    """Uses of tf.function whose source AutoGraph rewrites, a third of the time to a first step."""
    nodes = list(ast.walk(parse(source)))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    plain = [
        one for node in nodes for one in getattr(node, "decorator_list", ()) if one not in calls
    ]
    found = [
        node
        for node in calls
        if ast.unparse(node.func) == "tf.function"
        and not any(ast.unparse(one) == "autograph=False" for one in node.keywords)
    ]
    return found + [one for one in plain if ast.unparse(one) == "tf.function"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("tf.function(f)", True),
        ("tf.function(f, autograph=True)", True),
        ("@tf.function\ndef f(x): return x", True),
        ("@tf.function(jit_compile=True)\ndef f(x): return x", True),
        ("@tf.function(autograph=False)\ndef f(x): return x", False),
        ("tf.function(f, autograph=False)", False),
    ],
)
def test_the_rule_of_traces(line, found):
    assert bool(rewritten(line)) == found


def test_no_trace_is_rewritten():
    assert wrong_in(SHIPPED, lambda name, source: rewritten(source)) == {}


def test_nothing_unsafe_and_no_print():
    assert wrong_in(SHIPPED, lambda name, source: unsafe(source)) == {}


def without_docstring(source):
    """Public functions and classes of a module without a docstring, and "module" for the module
    itself.
    """
    tree = parse(source)
    found = [] if ast.get_docstring(tree) else ["module"]
    for node in tree.body:
        if (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ):
            found.append(node.name)
    return found


def test_the_rule_of_docstrings():
    assert without_docstring("def f():\n  '''It.'''\nclass A:\n  pass\ndef _g():\n  pass") == [
        "module",
        "A",
    ]
    assert without_docstring("'''This.'''\ndef f():\n  return 1") == ["f"]


# What users build their own models from, and all of the export.
LIBRARY = (
    "export",
    *(f"tfrec_attn.{room}" for room in ("layers", "losses", "evaluation", "models")),
)


def test_public_names_have_docstrings():
    library = {name: SHIPPED[name] for name in SHIPPED if name.startswith(LIBRARY)}
    assert wrong_in(library, lambda name, source: without_docstring(source)) == {}


def test_files_are_short():
    lengths = {name: len(source.splitlines()) for name, source in SHIPPED.items()}
    assert {name: length for name, length in lengths.items() if length >= 400} == {}


def test_the_contract_of_models_is_short():
    assert len(SOURCES["models.base.sequence_model"].splitlines()) < 250


def longest_common_run(first, second):
    """How many lines in a row, blank ones aside, two sources share at most."""
    first, second = (
        [line.strip() for line in one.splitlines() if line.strip()] for one in (first, second)
    )
    runs, longest = {}, 0
    for line in first:
        runs = {j: runs.get(j - 1, 0) + 1 for j, other in enumerate(second) if line == other}
        longest = max([longest, *runs.values()])
    return longest


def test_the_rule_of_runs():
    assert longest_common_run("a\nb\n\n  c\nd", "x\na\nb\nc\n") == 3
    assert longest_common_run("a", "b") == 0


def test_no_two_models_share_a_dozen_lines():
    sources = {
        name: SOURCES[name]
        for name in MODULES
        if name.startswith("models.") and not name.startswith("models.base")
    }
    pairs = list(itertools.combinations(sources, 2))
    assert pairs
    assert {
        pair: run for pair in pairs if (run := longest_common_run(*map(sources.get, pair))) >= 12
    } == {}


def snake_case(name):
    """SelfAttention -> self_attention, GRU4Rec -> gru4rec."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name).lower()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("SelfAttention", "self_attention"), ("MaxNorm", "max_norm"), ("Scoring", "scoring")],
)
def test_the_rule_of_names(name, expected):
    assert snake_case(name) == expected


def test_a_layers_file_is_named_as_its_class():
    layers = [
        name
        for name in MODULES
        if name.startswith("layers.") and name not in ("layers.rows", "layers.support")
    ]
    assert layers
    for name in layers:
        public = [
            node.name
            for node in parse(SOURCES[name]).body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        ]
        assert [snake_case(one) for one in public] == [name.removeprefix("layers.")]
