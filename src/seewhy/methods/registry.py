"""All methods by name: those of the package, and third-party ones found by entry point."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from ..core import plugins
from ..core.errors import LayerError, SettingError, UnknownNameError, nearest
from ..core.method import Method
from .ablation_cam import AblationCam
from .attention_rollout import AttentionGradient, AttentionRollout
from .cam import Cam
from .deconvnet import Deconvnet
from .eigen_cam import EigenCam
from .expected_gradients import ExpectedGradients
from .feature_ablation import FeatureAblation
from .finer_cam import FinerCam
from .grad_cam import GradCam
from .grad_cam_plus_plus import GradCamPlusPlus
from .guided_backprop import GuidedBackprop
from .guided_grad_cam import GuidedGradCam
from .hires_cam import HiResCam
from .igos import Igos
from .igos_plus_plus import IgosPlusPlus
from .input_x_gradient import InputXGradient
from .integrated_gradients import IntegratedGradients
from .kernel_shap import KernelShap
from .layer_cam import LayerCam
from .lime import Lime
from .meaningful_perturbation import MeaningfulPerturbation
from .occlusion import Occlusion
from .rise import Rise
from .saliency import Saliency
from .score_cam import ScoreCam
from .smooth_grad_cam_plus_plus import SmoothGradCamPlusPlus
from .smoothgrad import SmoothGrad
from .spelling import parsed
from .vargrad import VarGrad
from .xgrad_cam import XGradCam

GROUP = "seewhy.methods"
BUILT_IN: tuple[type[Method], ...] = (
    Saliency,
    InputXGradient,
    SmoothGrad,
    VarGrad,
    IntegratedGradients,
    ExpectedGradients,
    Deconvnet,
    GuidedBackprop,
    GuidedGradCam,
    Cam,
    GradCam,
    GradCamPlusPlus,
    SmoothGradCamPlusPlus,
    XGradCam,
    LayerCam,
    HiResCam,
    EigenCam,
    FinerCam,
    ScoreCam,
    AblationCam,
    Occlusion,
    FeatureAblation,
    Rise,
    Lime,
    KernelShap,
    MeaningfulPerturbation,
    Igos,
    IgosPlusPlus,
    AttentionRollout,
    AttentionGradient,
)


@cache
def registered() -> tuple[dict[str, type[Method]], dict[str, str]]:
    """Returns the classes by name, and by name what is wrong with entry points that give none."""
    return plugins.registered(GROUP, Method, BUILT_IN, "method")  # type: ignore[type-abstract] # asked about, not made


def all_methods() -> Mapping[str, type[Method]]:
    """Returns every registered method class by name; the package's own come first.

    A third-party package registers a class with an entry point in the group `seewhy.methods`; its name there
    must be the method's own.
    """
    return dict(registered()[0])


def broken_methods() -> Mapping[str, str]:
    """Returns what is wrong with each entry point that gives no method; the other methods work without it."""
    return dict(registered()[1])


def find(method: str | Method | type[Method], layer: object = None) -> Method:
    """Returns the settings object of a method given by name, class or object; `layer` sets its layer.

    A name may bring settings: "rise(masks=1024)".

    Raises UnknownNameError with the nearest names, SettingError for settings that it has not or that do not fit,
    LayerError where the method has no layer.
    """
    if isinstance(method, str):
        name, settings = parsed(method)
        method = _with_settings(_class(name), settings)
    if isinstance(method, type) and issubclass(method, Method):
        method = method()
    if not isinstance(method, Method):
        raise SettingError(
            f"Expected a method's name or a settings object such as seewhy.methods.GradCam(); given {method!r}."
        )
    return method if layer is None else _with_layer(method, layer)


def _class(name: str) -> type[Method]:
    known, broken = registered()
    if name in broken and name not in known:
        raise SettingError(broken[name])
    if name not in known:
        raise UnknownNameError(
            f"Expected a method's name, one of {', '.join(known)}; given {name!r}." + nearest(name, known)
        )
    return known[name]


def _with_settings(kind: type[Method], settings: Mapping[str, Any]) -> Method:
    usual = kind()
    own = usual.settings()
    for name in settings:
        if name not in own:
            known = f"its settings are {', '.join(own)}" if own else "it has none"
            raise SettingError(f"{kind.info.name} has no setting {name!r}; {known}." + nearest(name, own))
    return kind(**settings) if settings else usual


def _with_layer(method: Method, layer: object) -> Method:
    if "layer" not in method.settings():
        raise LayerError(
            f"layer= goes with class activation maps; {method.info.name} explains the input and has no layer. "
            "Leave layer= out, or choose a method such as 'grad-cam'."
        )
    return type(method)(**{**method.settings(), "layer": layer})
