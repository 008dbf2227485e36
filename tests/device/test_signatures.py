"""The stand-ins take no call that the real packages would refuse.

Whatever the GPU backend calls, it calls over the stand-ins too. If each function, method and attribute of a stand-in
exists in the real package and takes the same arguments, then so does everything that the backend uses.
"""

import inspect
import os
import types
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.device import standin_cupy, standin_cuvs, standin_rapids
from tests.device.signatures import Missing, Wheel, cupy_signature, misfit, signature_from_text

ROOT = Path(__file__).parents[2]
# Classes of CuPy that its functions return.
CUPY_CLASSES = {
    "ndarray": standin_cupy.ndarray,
    "cuda.MemoryPool": standin_cupy.MemoryPool,
    "cuda.PinnedMemoryPool": standin_cupy.PinnedMemoryPool,
    "RawModule": standin_cupy.RawModule,
    "cuda.Event": standin_cupy.Event,
    "cuda.Stream": standin_cupy.Stream,
}
OWN = {"allocate", "todo", "seen", "copied", "time", "recorded", "stream", "before", "limit", "live", "held"}
"""Names that only the stand-ins have."""
RMM_FUNCTIONS = ("get_current_device_resource", "set_current_device_resource")


def wheel(package):
    folder = Path(os.environ.get("LINKSYN_RAPIDS_WHEELS") or ROOT / "build" / "rapids-wheels")
    files = sorted(folder.glob(f"{package.split('.')[0]}_cu*.whl"))
    if not files:
        pytest.skip(
            f"NOT CHECKED AGAINST {package}: no wheel in {folder}; "
            f"pip download --no-deps -r tests/device/rapids-wheels.txt -d build/rapids-wheels"
        )
    return Wheel(files[-1], package)


def need_cupy():
    if find_spec("cupy") is None:
        pytest.skip("NOT CHECKED AGAINST cupy: it is not installed; pip install -e '.[device-tests]'")


def signature(thing):
    """Signature of a function or of a class's constructor; None for an attribute."""
    return inspect.signature(thing) if callable(thing) else None


def functions(namespace, path=()):
    """Functions and classes of a stand-in, and of the namespaces in it, by their path."""
    for name, thing in vars(namespace).items():
        if isinstance(thing, types.SimpleNamespace):
            yield from functions(thing, (*path, name))
        elif not name.startswith("__") and callable(thing):
            yield (*path, name), thing


def methods(cls):
    """Public methods, and None for attributes, of a class of a stand-in."""
    for name, thing in vars(cls).items():
        if name[0] != "_" and name not in OWN:
            yield name, None if isinstance(thing, property) else without_self(inspect.signature(thing))


def without_self(found):
    return found.replace(parameters=list(found.parameters.values())[1:])


def objections(pairs, real):
    """Why pairs of a path and its signature in a stand-in do not fit the real package."""
    wrong = []
    for path, standin in pairs:
        try:
            problem = misfit(standin, real(path))
        except Missing as error:
            problem = str(error)
        if problem:
            wrong.append(f"{'.'.join(path)}: {problem}")
    return wrong


def test_functions_of_cupy():
    need_cupy()
    built = {"ndarray", "CUDARuntimeError", "CUDADriverError", "CompileException"}  # never made by the backend
    found = [(path, signature(thing)) for path, thing in functions(standin_cupy.module()) if path[-1] not in built]
    assert len(found) > 25
    assert objections(found, cupy_signature) == []


def test_methods_of_cupy():
    need_cupy()
    found = [
        ((*owner.split("."), name), method) for owner, cls in CUPY_CLASSES.items() for name, method in methods(cls)
    ]
    assert len(found) > 25
    assert objections(found, cupy_signature) == []


def modules():
    """Stand-ins for RAPIDS, by the package that each stands for."""
    neighbors = standin_cuvs.modules()[1]
    rmm = standin_rapids.rmm_modules()["rmm.mr"]
    return {
        "rmm.mr": rmm,
        "cudf": standin_rapids.cudf_module(),
        "pylibcugraph": standin_rapids.pylibcugraph_module(),
        "cuvs.neighbors.brute_force": neighbors.brute_force,
        "cuvs.neighbors.ivf_flat": neighbors.ivf_flat,
    }


@pytest.mark.parametrize("package", modules())
def test_functions_of_rapids(package):
    found = [(path, signature(thing)) for path, thing in functions(modules()[package])]
    assert len(found) >= 2
    assert objections(found, wheel(package).signature) == []


def test_methods_of_cudf():
    cudf = wheel("cudf")
    classes = (standin_rapids.Series, standin_rapids.StringMethods, standin_rapids.ListMethods)
    found = [((cls.__name__, name), method) for cls in classes for name, method in methods(cls)]
    assert len(found) >= 10
    assert objections(found, lambda path: cudf.method(*path)) == []


# ---------------------------------------------------------------------- the check itself


@pytest.mark.parametrize(
    ("standin", "real", "complaint"),
    [
        ("a, b", "a, b, c=None", None),
        ("a, *, c", "a, b=None, c=None", None),
        ("a", "self_or_other, a", "names argument 0"),
        ("a, b", "a", "takes 1 arguments"),
        ("a, *, d", "a, c=None", "has no argument d"),
        ("a", "a, b", "requires b"),
        ("a=None", "a", "requires a"),
        ("a", "*args", None),
    ],
)
def test_a_stand_in_that_takes_more_than_the_real_function_is_found(standin, real, complaint):
    ours, theirs = (inspect.signature(eval(f"lambda {text}: None")) for text in (standin, real))
    found = misfit(ours, theirs)
    assert found is None if complaint is None else complaint in found


def test_an_attribute_is_not_a_function():
    assert misfit(None, signature_from_text("a")) is not None
    assert misfit(None, None) is None


def test_a_name_that_the_package_does_not_have_is_found():
    need_cupy()
    ours = signature_from_text("a")
    assert "does not exist" in objections([(("cumsumm",), ours)], cupy_signature)[0]
    cudf = wheel("cudf")
    assert "does not exist" in objections([(("conkat",), ours)], cudf.signature)[0]
    assert "has no bytecount" in objections([(("StringMethods", "bytecount"), ours)], lambda p: cudf.method(*p))[0]
