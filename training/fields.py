"""The configuration of a training run."""

import os
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _split_words(value: Any) -> Any:
    """Turn `color,translation`, as typed on the command line, into `[color, translation]`."""
    return [word for word in value.split(",") if word] if isinstance(value, str) else value


def _make_pair(value: Any) -> Any:
    """Turn `5` into `[5, 5]`, and `5,2`, as typed on the command line, into `[5, 2]`."""
    if isinstance(value, str):
        return value.split(",")
    return [value, value] if isinstance(value, int | float) else value


Weight = Annotated[float, Field(ge=0)]
Weights = Annotated[tuple[Weight, Weight], BeforeValidator(_make_pair)]
"""The weights of a loss for G and for F, which are different tasks; a single number sets both."""


def domain_name(folder: Path) -> str:
    """Return the name of a domain: the folder's name, with _ for characters that a direction may not have (`été` becomes ete).

    Symbolic links keep their own name. `horse2zebra/trainA` is horse and `horse2zebra/trainB` is zebra; without a 2 in the parent's
    name they are A and B.
    """
    folder = Path(os.path.abspath(folder))
    name = folder.name
    if re.fullmatch("train[AB]", name, re.IGNORECASE):
        index = "AB".index(name[-1].upper())
        names = folder.parent.name.split("2")
        name = names[index] if len(names) == 2 and all(names) else "AB"[index]
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_")


class TrainingConfig(BaseModel):
    """The configuration of one run. The defaults are those of the paper (Zhu et al., ICCV 2017) where it states them."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    source: Path
    """Folder of domain X, with train/ and test/; or a trainA/ next to a testA/; or a plain folder of pictures (see training/data.py).
    The folder's name is the domain's name."""
    target: Path
    """Folder of domain Y, laid out in the same way, or the trainB/."""
    source_name: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,49}$")
    """The source domain's name in directions, like photo in photo2monet; empty: derived from the folder's name."""
    target_name: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,49}$")
    """The target domain's name."""

    steps: int = Field(200_000, ge=1)
    """Training steps. One step updates both generators, then both critics."""
    batch_size: int = Field(1, ge=1)
    """Pictures of each domain that are computed at once, on each device."""
    accumulate: int = Field(1, ge=1)
    """Batches in a step. Their gradients are averaged, which has the effect of a larger batch without its memory."""
    load_size: Annotated[tuple[int, int], BeforeValidator(_make_pair)] = (286, 286)
    """Range in pixels from which the shorter side of a scaled picture is drawn, before cropping."""
    crop_size: int = Field(256, ge=32, multiple_of=4)
    """Side in pixels of the random crops."""
    flip: bool = True
    """Mirror half of the crops, left to right."""

    generator: Literal["resnet", "mobile_resnet", "unet_128", "unet_256"] = "resnet"
    """The generators' architecture. `resnet_9blocks` and the like also set n_blocks. mobile_resnet has depthwise separable residual
    blocks (Li et al., "GAN Compression", CVPR 2020)."""
    ngf: int = Field(64, ge=1)
    """Channels after a generator's first convolution."""
    n_blocks: int = Field(9, ge=0)
    """Residual blocks. The paper uses 9 for pictures of 256 pixels or more, and 6 for smaller ones."""
    trunk: int | None = Field(None, ge=1)
    """Channels of a ResNet's residual blocks; empty: four times ngf. Separable blocks are cheap enough to be wide."""
    downsampling: Literal["strided", "blurred"] = "strided"
    """For ResNets: `strided` convolutions (the paper), or `blurred` before each stride, with mirrored borders: it leaves no frame, and a
    shifted picture gives the same translation, shifted (Zhang, ICML 2019)."""
    upsampling: Literal["transposed", "nearest", "bilinear"] = "transposed"
    """For ResNets: `transposed` convolutions (the paper); or `nearest` neighbor and convolution, which leaves no checkerboard (Odena et
    al., "Deconvolution and Checkerboard Artifacts", Distill 2016); or `bilinear` and convolution, which also ties no texture to the
    pixel grid."""
    skip: float = Field(0.0, ge=0, lt=1)
    """For ResNets: the share of the input in the output; 0: none."""
    color_skip: float | None = Field(None, ge=0, lt=1)
    """For ResNets: the share of the input's colors, without its brightness, in the output; empty: same as `skip`. Instance norms lose
    the color of what fills a picture."""
    features: str = "none"
    """The frozen network whose features critics and lambda_content use: `vgg19` (weights from torchvision), a file of these weights,
    or `none`. `auto`: vgg19 if torchvision is installed, else none."""
    discriminator: Literal["patchgan", "pixel", "features"] = "patchgan"
    """The critics' architecture: patches whose size n_layers sets, single pixels, or small heads on `features` (Sauer et al.,
    "Projected GANs Converge Faster", NeurIPS 2021), which learn fastest. Without features, the last is PatchGANs with spectral norm."""
    ndf: int = Field(64, ge=1)
    """Channels after a critic's first convolution."""
    n_layers: int = Field(3, ge=1)
    """Convolutions with stride in a critic: 3 judges patches of 70×70 pixels."""

    n_scales: int = Field(1, ge=1)
    """Critics of each domain: one for the picture, one for its half size, one for its quarter size and so on (pix2pixHD's num_D)."""
    critic_norm: Literal["instance", "none"] = "instance"
    """The norm between the critics' convolutions. `instance` (the paper) hides from them how strong a texture is; `none`, together with
    spectral_norm, gives translations with less grain."""
    spectral_norm: bool = False
    """Spectral norm on the critics' convolutions (Miyato et al., ICLR 2018)."""

    objective: Literal["lsgan", "minimax", "nonsaturating", "hinge", "wgan-gp"] = "lsgan"
    """The adversarial objective (see training/objectives.py)."""
    r1_gamma: float = Field(0.0, ge=0)
    """Weight of the R1 penalty on the critics' gradients at real pictures (Mescheder et al., ICML 2018); it does not depend on
    crop_size; 0: none."""
    r1_every: int = Field(16, ge=1)
    """Steps between R1 penalties, which are weighted by this number (Karras et al., CVPR 2020)."""
    augment: Annotated[tuple[Literal["color", "translation", "cutout"], ...], BeforeValidator(_split_words)] = ()
    """Differentiable augmentation of the critics' input (Zhao et al., NeurIPS 2020); helps with few pictures."""
    critic_noise: float = Field(0.0, ge=0)
    """Standard deviation of the noise on the critics' input, for pictures in [-1, 1]."""
    lambda_adversarial: Weights = (1.0, 1.0)
    """Weights of the adversarial losses of G and of F. Here and in the pairs below, a single number sets both."""
    lambda_cycle: Weights = (10.0, 10.0)
    """Weights of the cycle losses of source and of target pictures; 0: no cycle loss."""
    lambda_identity: Weights = (0.5, 0.5)
    """Weights of the identity losses of G and of F, as a share of lambda_cycle (like in the paper's code)."""
    lambda_content: Weights = (0.0, 0.0)
    """Weights of the difference between the `features` of a picture and of its translation; keeps objects in place."""
    lambda_color: Weights = (0.0, 0.0)
    """Weights of the difference between the colors of a picture's areas and of its translation's."""
    lambda_shift: Weights = (0.0, 0.0)
    """Weights of the difference between the translation of a shifted picture with a little noise, and the shifted translation; keeps
    texture from being tied to the pixel grid or made of noise."""
    lambda_lattice: Weights = (0.0, 0.0)
    """Weights of patterns that repeat every four pixels more in a translation than in its picture: the weave that strong texture critics
    cause."""
    teacher: Path | None = None
    """A bundle or a run of the same domains whose translations the generators imitate (distillation); empty: none. A bundle teaches its
    direction, and the inverse one if that bundle is in the same folder."""
    lambda_teacher: float = Field(10.0, ge=0)
    """Weight of the mean absolute difference to the teacher's translation."""
    pool_size: int = Field(50, ge=0)
    """Earlier translations that the critics see again (Shrivastava et al., CVPR 2017); 0: none."""

    start: Path | None = None
    """A run or a bundle of any domains with generators like these, whose weights this run starts from (fine-tuning); empty: random
    weights. A run also gives its critics if they fit; a bundle gives its direction, and the inverse one if that bundle is in the same
    folder."""
    critic_warmup: int = Field(0, ge=0)
    """First steps that train only the critics, if these are new but the generators are not."""
    n_critic: int = Field(1, ge=1)
    """Critic updates for each generator update; 5 is usual with wgan-gp."""
    lr: float = Field(2e-4, gt=0)
    """Adam's learning rate, until it decays."""
    critic_lr: float | None = Field(None, gt=0)
    """The critics' learning rate (Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017); empty: lr."""
    beta1: float = Field(0.5, ge=0, lt=1)
    """Adam's first beta; the second is 0.999."""
    decay_steps: int | None = Field(None, ge=0)
    """Last steps, in which the learning rate falls linearly to 0; empty: half of the steps."""
    ema: float = Field(0.999, ge=0, lt=1)
    """Decay per step of the generators' moving average, which is sampled, evaluated and exported; lower in the first steps."""

    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """`auto`: bf16 autocast if the processor computes in bf16, else fp16 with gradient scaling on GPUs and fp32 on CPUs."""
    channels_last: bool = False
    """Store the channels of a pixel together in memory; often faster with bf16 on GPUs."""
    compile: bool = False
    """Compile the networks with torch.compile: slow to start, then faster on most GPUs."""
    device: str = "auto"
    """A torch device. `auto`: CUDA if available, else the CPU."""
    cache: Literal["auto", "device", "memory", "bytes", "files"] = "auto"
    """Where training pictures are kept: decoded on the `device` or in `memory`; or decoded again for each step, from the files' `bytes` in
    memory or from the `files`. `auto`: the first that takes at most half of the free memory; the device only if it is a GPU."""
    workers: int | None = Field(None, ge=1)
    """Threads that prepare the next batches; empty: the number of processors, at most 8."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of weights, crops, order and pools."""

    checkpoint_every: int = Field(1000, ge=1)
    """Steps between checkpoints."""
    sample_every: int = Field(1000, ge=1)
    """Steps between sample sheets."""
    sample_size: int | None = Field(None, ge=32)
    """Side in pixels of the pictures on sample sheets; empty: the upper end of load_size, at most 512."""
    evaluate_every: int = Field(0, ge=0)
    """Steps between evaluations on test pictures. The weights with the best mean score of both directions are kept in best.pt. 0: none."""
    evaluate_count: int = Field(50, ge=2)
    """Pictures of each folder that these evaluations use at most."""
    log_every: int = Field(50, ge=1)
    """Steps that a line of losses.csv averages over."""

    @model_validator(mode="before")
    @classmethod
    def _split_generator_name(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Turn `generator: resnet_6blocks` into `generator: resnet` and `n_blocks: 6`."""
        match = re.fullmatch(r"(mobile_resnet|resnet)_(\d+)blocks", str(fields.get("generator")))
        return fields | {"generator": match[1], "n_blocks": int(match[2])} if match else fields

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        low, high = self.load_size
        if self.crop_size % self.generator_multiple:
            raise ValueError(f"crop_size {self.crop_size} must be a multiple of {self.generator_multiple} for {self.generator}")
        if self.generator.startswith("unet_"):
            for name in ("skip", "color_skip", "trunk"):
                if getattr(self, name):
                    raise ValueError(f"{name} is for ResNets, not for UNets")
            if any(self.lambda_shift):
                raise ValueError("lambda_shift is for ResNets: UNets do not take its smaller crops; set it to 0")
        if self.features == "none" and any(self.lambda_content) and self.discriminator != "features":
            raise ValueError("lambda_content needs features: name a file of VGG-19's weights, or set it to 0")
        if not self.crop_size <= low <= high:
            raise ValueError(f"load_size {low}..{high} must be a range that starts at crop_size {self.crop_size} or above")
        n_layers = 0 if self.discriminator == "pixel" else self.n_layers
        if not self.has_feature_critics and self.crop_size < 3 * 2 ** (n_layers + self.n_scales - 1):
            raise ValueError(f"crop_size {self.crop_size} is too small for n_layers {n_layers} and n_scales {self.n_scales}")
        for field, name in (("source", self.source_domain), ("target", self.target_domain)):
            if not 1 <= len(name) <= 49:
                folder = getattr(self, field)
                raise ValueError(f"{field}: the name of {folder} cannot be used for a domain: choose one, like --set {field}_name=photo")
        if self.source_domain == self.target_domain:
            raise ValueError(
                f"source and target are both named {self.source_domain}: give the folders different names, or --set target_name=…"
            )
        return self

    @property
    def generator_multiple(self) -> int:
        """The number that the sides of a picture must be multiples of."""
        return int(self.generator.removeprefix("unet_")) if self.generator.startswith("unet_") else 4

    @property
    def source_domain(self) -> str:
        return self.source_name or domain_name(self.source)

    @property
    def target_domain(self) -> str:
        return self.target_name or domain_name(self.target)

    @property
    def direction(self) -> str:
        """The direction of G, like `photo2monet`."""
        return f"{self.source_domain}2{self.target_domain}"

    @property
    def inverse(self) -> str:
        """The direction of F."""
        return f"{self.target_domain}2{self.source_domain}"

    @property
    def has_features(self) -> bool:
        """Whether there is a frozen network, no matter where its weights come from."""
        return self.features != "none"

    @property
    def has_feature_critics(self) -> bool:
        """Whether the critics are heads on the frozen network's features."""
        return self.has_features and self.discriminator == "features"

    @property
    def step_size(self) -> int:
        """Pictures of each domain in one step, on each device."""
        return self.batch_size * self.accumulate

    def lr_at(self, step: int, lr: float | None = None) -> float:
        """Return the learning rate at `step` (from 0) for the initial rate `lr`: constant, then linear to 0 at `steps`."""
        decay_steps = self.steps // 2 if self.decay_steps is None else self.decay_steps
        return (lr or self.lr) * min(1.0, (self.steps - step) / max(decay_steps, 1))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
