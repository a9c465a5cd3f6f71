"""What a run is made of: one typed, documented configuration."""

import os
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _as_words(value: Any) -> Any:
    """`color,translation` (as typed on a command line) means `[color, translation]`."""
    return [word for word in value.split(",") if word] if isinstance(value, str) else value


def _as_pair(value: Any) -> Any:
    """`5` means `[5, 5]`; `5,2` (as typed on a command line) means `[5, 2]`."""
    if isinstance(value, str):
        return value.split(",")
    return [value, value] if isinstance(value, int | float) else value


Weight = Annotated[float, Field(ge=0)]
Weights = Annotated[tuple[Weight, Weight], BeforeValidator(_as_pair)]
"""Of a term for G and of the same for F, since from pictures to paintings is another task than back; one number stands for both."""


def domain_name(folder: Path) -> str:
    """The folder's own name, of a link the link's. `horse2zebra/trainA` is horse and `horse2zebra/trainB` zebra; A and B in a folder
    without a 2. Made of letters, digits, _ and -, as a direction's name must be: `winter photos` is winter_photos, `été` ete."""
    folder = Path(os.path.abspath(folder))
    name = folder.name
    if re.fullmatch("train[AB]", name, re.IGNORECASE):
        index = "AB".index(name[-1].upper())
        names = folder.parent.name.split("2")
        name = names[index] if len(names) == 2 and all(names) else "AB"[index]
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_")


class TrainingConfig(BaseModel):
    """What one run is made of. Defaults are the paper's (Zhu et al., ICCV 2017) where it has them."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    source: Path
    """Folder of domain X, with train/ and test/ in it; the folder's name names the domain. Or a trainA/ beside a testA/,
    or a plain folder of pictures (see training/data.py)."""
    target: Path
    """Folder of domain Y, laid out the same, or the trainB/."""
    source_name: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,49}$")
    """The source domain's name in directions, like photo in photo2monet; empty: the folder's, with _ for what is no letter or digit."""
    target_name: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,49}$")
    """The target domain's name."""

    steps: int = Field(200_000, ge=1)
    """Training steps. One step updates both generators, then both critics."""
    batch_size: int = Field(1, ge=1)
    """Pictures of each domain that are computed at once, on each device."""
    accumulate: int = Field(1, ge=1)
    """Batches in a step: their gradients are averaged, as of one batch that is so many times as large, in the memory of one."""
    load_size: Annotated[tuple[int, int], BeforeValidator(_as_pair)] = (286, 286)
    """A picture is scaled so that its shorter side is drawn from this range, in pixels, before cropping."""
    crop_size: int = Field(256, ge=32, multiple_of=4)
    """Side in pixels of the random crop that is trained on."""
    flip: bool = True
    """Mirror half of the crops, left to right."""

    generator: Literal["resnet", "mobile_resnet", "unet_128", "unet_256"] = "resnet"
    """The generators' architecture. `resnet_9blocks` and the like say n_blocks in the same word. mobile_resnet has
    depthwise separable residual blocks (Li et al., "GAN Compression", CVPR 2020)."""
    ngf: int = Field(64, ge=1)
    """Channels after a generator's first convolution."""
    n_blocks: int = Field(9, ge=0)
    """Residual blocks: 9 for pictures of 256 pixels or more, 6 for smaller ones (the paper's)."""
    trunk: int | None = Field(None, ge=1)
    """Channels of a ResNet's residual blocks; empty: four times ngf. Separable blocks are cheap enough to be wide."""
    downsampling: Literal["strided", "blurred"] = "strided"
    """`strided` convolutions (the paper's), or `blurred` before each stride, mirrored at the borders: no frame, and a picture that is moved
    by a pixel gives the same picture moved by a pixel (Zhang, ICML 2019). For ResNets."""
    upsampling: Literal["transposed", "nearest", "bilinear"] = "transposed"
    """`transposed` convolutions (the paper's), or `nearest` neighbour and convolution, which leaves no checkerboard
    (Odena et al., "Deconvolution and Checkerboard Artifacts", Distill 2016), or `bilinear` and convolution, which locks
    no texture to the grid of pixels either. For ResNets."""
    skip: float = Field(0.0, ge=0, lt=1)
    """ResNets: how much of the input itself is in the output; 0: none."""
    color_skip: float | None = Field(None, ge=0, lt=1)
    """ResNets: how much of the input's colours, apart from its brightness, is in the output, since instance norms lose the colour of
    what fills a picture; empty: as much as `skip`."""
    features: str = "none"
    """A frozen network's features, for critics and for lambda_content: `vgg19`, whose weights torchvision has; or a file of these
    weights; or `none`. `auto`: vgg19 where torchvision is installed, else none."""
    discriminator: Literal["patchgan", "pixel", "features"] = "patchgan"
    """The critics' architecture: patches of a size that n_layers sets, or single pixels, or small heads on the levels of `features`
    (Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021), which learn fastest; without features PatchGANs with spectral norm."""
    ndf: int = Field(64, ge=1)
    """Channels after a critic's first convolution."""
    n_layers: int = Field(3, ge=1)
    """Convolutions with stride in a critic: 3 judges patches of 70×70 pixels."""

    n_scales: int = Field(1, ge=1)
    """Critics a domain: one of the picture, one of its half, one of its quarter and so on (pix2pixHD's num_D)."""
    critic_norm: Literal["instance", "none"] = "instance"
    """Between the critics' convolutions. `instance` (the paper's) hides from them how strong a texture is; `none`, beside
    spectral_norm, leaves less grain in what the generators make."""
    spectral_norm: bool = False
    """Spectral norm on the critics' convolutions (Miyato et al., ICLR 2018)."""

    objective: Literal["lsgan", "minimax", "nonsaturating", "hinge", "wgan-gp"] = "lsgan"
    """The adversarial objective (see training/objectives.py)."""
    r1_gamma: float = Field(0.0, ge=0)
    """Weight of the R1 penalty on the critics' gradients at real pictures (Mescheder et al., ICML 2018), which means the same at
    every crop_size; 0 for none."""
    r1_every: int = Field(16, ge=1)
    """Steps between R1 penalties, each weighted by as many (Karras et al., CVPR 2020)."""
    augment: Annotated[tuple[Literal["color", "translation", "cutout"], ...], BeforeValidator(_as_words)] = ()
    """Differentiable augmentation of all that the critics see (Zhao et al., NeurIPS 2020): helps with few pictures."""
    critic_noise: float = Field(0.0, ge=0)
    """Deviation of the noise on all that the critics see, where pictures are in [-1, 1]."""
    lambda_adversarial: Weights = (1.0, 1.0)
    """Weights of the adversarial losses of G and of F; as in each pair below, one number stands for both."""
    lambda_cycle: Weights = (10.0, 10.0)
    """Weights of the cycle losses of source and of target pictures; 0 is the naive pair without the cycle."""
    lambda_identity: Weights = (0.5, 0.5)
    """Weights of the identity losses of G and of F, as a share of lambda_cycle (the paper's code's convention)."""
    lambda_content: Weights = (0.0, 0.0)
    """Weights of the difference between a picture's `features` and its translation's: keeps what is shown where it is."""
    lambda_color: Weights = (0.0, 0.0)
    """Weights of the difference between the colours of a picture's areas and of its translation's."""
    lambda_shift: Weights = (0.0, 0.0)
    """Weights of the difference between the translation of a picture that is moved by a few pixels, with a little noise, and
    the translation, moved: no texture is locked to the grid of pixels, or made of noise."""
    lambda_lattice: Weights = (0.0, 0.0)
    """Weights of what repeats every four pixels in a translation more than in its picture: the weave that strong critics of texture
    make generators draw."""
    teacher: Path | None = None
    """A bundle or a run of the same domains whose translations the generators imitate (distillation); empty: none.
    A bundle teaches its direction, and the one back where that stands beside it."""
    lambda_teacher: float = Field(10.0, ge=0)
    """Weight of the mean absolute difference to the teacher's translation."""
    pool_size: int = Field(50, ge=0)
    """Translations kept to show the critics again (Shrivastava et al., CVPR 2017); 0 keeps none."""

    start: Path | None = None
    """A run or a bundle of any domains with generators like these, whose weights this one begins with (fine-tuning); empty:
    anew. A run gives its critics, too, where they are alike; a bundle its direction, and the one back where that stands
    beside it."""
    critic_warmup: int = Field(0, ge=0)
    """The first so many steps train the critics alone, where they are new beside generators that are not."""
    n_critic: int = Field(1, ge=1)
    """Steps of the critics for each step of the generators, which are trained in one step of so many: 5 is usual with wgan-gp."""
    lr: float = Field(2e-4, gt=0)
    """Adam's learning rate, until it decays."""
    critic_lr: float | None = Field(None, gt=0)
    """The critics' own rate (Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017); empty: lr."""
    beta1: float = Field(0.5, ge=0, lt=1)
    """Adam's first momentum; the second is 0.999."""
    decay_steps: int | None = Field(None, ge=0)
    """The last so many steps take the rate linearly to 0; empty: half of the steps."""
    ema: float = Field(0.999, ge=0, lt=1)
    """Decay a step of the generators' moving average, which is what is sampled, evaluated and exported; less in the first steps."""

    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """`auto`: bf16 autocast where the processor computes in it, else fp16 with scaled gradients on GPUs and fp32 on CPUs."""
    channels_last: bool = False
    """Keep pictures channel by channel in memory: often faster with bf16 on GPUs."""
    compile: bool = False
    """Let torch.compile fuse the networks: slow to start, then faster on most GPUs."""
    device: str = "auto"
    """`auto`: CUDA where it is there, else the CPU; or what torch calls a device."""
    cache: Literal["auto", "device", "memory", "bytes", "files"] = "auto"
    """Where training pictures are kept: decoded on the `device` or in `memory`, or decoded anew for each step from the files' `bytes` in
    memory or from the `files`. `auto`: the first of these, the device only where it is a GPU, that takes at most half of what is free."""
    workers: int | None = Field(None, ge=1)
    """Threads that cut the next steps' crops; empty: as many as there are processors, 8 at most."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seeds weights, crops, order and pools."""

    checkpoint_every: int = Field(1000, ge=1)
    """Steps between checkpoints."""
    sample_every: int = Field(1000, ge=1)
    """Steps between sample sheets."""
    sample_size: int | None = Field(None, ge=32)
    """Side in pixels of the pictures on sample sheets; empty: the upper end of load_size, 512 at most."""
    evaluate_every: int = Field(0, ge=0)
    """Steps between evaluations on test pictures, after each of which the weights with the best score so far, in the mean of both
    directions, are kept in best.pt; 0: none."""
    evaluate_count: int = Field(50, ge=2)
    """Pictures of each folder that these judge by, at most."""
    log_every: int = Field(50, ge=1)
    """Steps that a line of losses.csv averages over."""

    @model_validator(mode="before")
    @classmethod
    def _usual_names(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """`generator: resnet_6blocks` is `generator: resnet` with `n_blocks: 6`."""
        named = re.fullmatch(r"(mobile_resnet|resnet)_(\d+)blocks", str(fields.get("generator")))
        return fields | {"generator": named[1], "n_blocks": int(named[2])} if named else fields

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        low, high = self.load_size
        if self.crop_size % self.generator_multiple:
            raise ValueError(f"crop_size {self.crop_size} must be a multiple of {self.generator_multiple} for {self.generator}")
        for name in ("skip", "color_skip", "trunk"):
            if getattr(self, name) and self.generator.startswith("unet_"):
                raise ValueError(f"{name} is for ResNets: a UNet has its own")
        if self.features == "none" and any(self.lambda_content) and self.discriminator != "features":
            raise ValueError("lambda_content needs features: name a file of VGG-19's weights, or set it to 0")
        if not self.crop_size <= low <= high:
            raise ValueError(f"load_size {low}..{high} must be a range that starts at crop_size {self.crop_size} or above")
        if any(self.lambda_shift) and self.generator.startswith("unet_"):
            raise ValueError("lambda_shift is for ResNets: a UNet takes no crop of a crop; set it to 0")
        n_layers = 0 if self.discriminator == "pixel" else self.n_layers
        if not self.has_feature_critics and self.crop_size < 3 * 2 ** (n_layers + self.n_scales - 1):
            raise ValueError(f"crop_size {self.crop_size} is too small for n_layers {n_layers} and n_scales {self.n_scales}")
        for which, name in (("source", self.source_domain), ("target", self.target_domain)):
            if not 1 <= len(name) <= 49:
                folder = getattr(self, which)
                raise ValueError(f"{which}: no name of a domain can be made of {folder}'s: give one, like --set {which}_name=photo")
        if self.source_domain == self.target_domain:
            raise ValueError(
                f"source and target are both named {self.source_domain}: give the folders different names, or --set target_name=…"
            )
        return self

    @property
    def generator_multiple(self) -> int:
        """What a picture's sides must be multiples of."""
        return int(self.generator.removeprefix("unet_")) if self.generator.startswith("unet_") else 4

    @property
    def source_domain(self) -> str:
        return self.source_name or domain_name(self.source)

    @property
    def target_domain(self) -> str:
        return self.target_name or domain_name(self.target)

    @property
    def direction(self) -> str:
        """What G does, like `photo2monet`."""
        return f"{self.source_domain}2{self.target_domain}"

    @property
    def inverse(self) -> str:
        """What F does."""
        return f"{self.target_domain}2{self.source_domain}"

    @property
    def has_features(self) -> bool:
        """Whether there is a frozen network, wherever its weights are."""
        return self.features != "none"

    @property
    def has_feature_critics(self) -> bool:
        """Whether critics are heads on these."""
        return self.has_features and self.discriminator == "features"

    @property
    def step_size(self) -> int:
        """Pictures of each domain in one step, on each device."""
        return self.batch_size * self.accumulate

    def lr_at(self, step: int, lr: float | None = None) -> float:
        """The learning rate of step `step` (from 0), the generators' or one that begins at `lr`: constant, then linear to 0 at `steps`."""
        decay_steps = self.steps // 2 if self.decay_steps is None else self.decay_steps
        return (lr or self.lr) * min(1.0, (self.steps - step) / max(decay_steps, 1))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
