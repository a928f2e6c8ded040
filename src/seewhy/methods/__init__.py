"""Explanation methods: one file each, mathematics only."""

from .cam import Cam
from .grad_cam import GradCam
from .grad_cam_plus_plus import GradCamPlusPlus
from .guided_backprop import GuidedBackprop
from .hires_cam import HiResCam
from .input_x_gradient import InputXGradient
from .integrated_gradients import IntegratedGradients
from .layer_cam import LayerCam
from .registry import all_methods, broken_methods, find
from .saliency import Saliency
from .smoothgrad import SmoothGrad
from .xgrad_cam import XGradCam

__all__ = [
    "Cam",
    "GradCam",
    "GradCamPlusPlus",
    "GuidedBackprop",
    "HiResCam",
    "InputXGradient",
    "IntegratedGradients",
    "LayerCam",
    "Saliency",
    "SmoothGrad",
    "XGradCam",
    "all_methods",
    "broken_methods",
    "find",
]
