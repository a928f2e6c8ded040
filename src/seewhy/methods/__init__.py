"""Explanation methods: one file each, mathematics only."""

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
from .registry import all_methods, broken_methods, find
from .rise import Rise
from .saliency import Saliency
from .score_cam import ScoreCam
from .smooth_grad_cam_plus_plus import SmoothGradCamPlusPlus
from .smoothgrad import SmoothGrad
from .vargrad import VarGrad
from .xgrad_cam import XGradCam

__all__ = [
    "AblationCam",
    "AttentionGradient",
    "AttentionRollout",
    "Cam",
    "Deconvnet",
    "EigenCam",
    "ExpectedGradients",
    "FeatureAblation",
    "FinerCam",
    "GradCam",
    "GradCamPlusPlus",
    "GuidedBackprop",
    "GuidedGradCam",
    "HiResCam",
    "Igos",
    "IgosPlusPlus",
    "InputXGradient",
    "IntegratedGradients",
    "KernelShap",
    "LayerCam",
    "Lime",
    "MeaningfulPerturbation",
    "Occlusion",
    "Rise",
    "Saliency",
    "ScoreCam",
    "SmoothGrad",
    "SmoothGradCamPlusPlus",
    "VarGrad",
    "XGradCam",
    "all_methods",
    "broken_methods",
    "find",
]
