"""What is to be rendered, as plain values: planned, written down and sent to a worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.faces.head import build_head
from lib.faces.identity import Identity, sample_identity
from lib.faces.render import render_head
from lib.faces.styles import BrowShape

#: Seeds of the people of the shipped sets and of the generator; the three never overlap.
STUDY_SEEDS = range(20_001, 20_102)
DICTIONARY_SEEDS = range(500_000, 600_000)
GENERATOR_FIRST = 10_000_000
#: People that one generator seed has before those of the next begin.
PEOPLE_PER_SEED = 100_000


@dataclass(frozen=True)
class Scene:
    """One head to build: a person, and what is on it.

    Attributes
    ----------
    seed, male, age, ethnicity, skin_tone, attributes, brow, dimorphism
        Arguments of `lib.faces.identity.sample_identity`; None lets chance decide.
    identity : Identity, optional
        A person given whole; the fields above are then not used.
    expression, hair, glasses, facial_hair, lipstick, rosy, detail
        Arguments of `lib.faces.head.build_head`.
    """

    seed: int
    male: bool | float | None = None
    age: float | None = None
    ethnicity: str | tuple | None = None
    skin_tone: str | float | None = None
    attributes: Mapping = field(default_factory=dict)
    brow: str | BrowShape | None = None
    dimorphism: float = 0.0
    identity: Identity | None = None
    expression: Mapping = field(default_factory=dict)
    hair: str | None = "own"
    glasses: str | None = None
    facial_hair: str | None = None
    lipstick: float = 0.0
    rosy: float = 0.0
    detail: str = "full"

    def person(self):
        """The person: an `Identity`."""
        if self.identity is not None:
            return self.identity
        brow = {} if self.brow is None else {"brow": self.brow}
        return sample_identity(
            self.seed,
            male=self.male,
            age=self.age,
            ethnicity=self.ethnicity,
            skin_tone=self.skin_tone,
            attributes=self.attributes,
            dimorphism=self.dimorphism,
            **brow,
        )

    def build(self):
        """The head: a `lib.faces.head.Head`."""
        return build_head(
            self.person(),
            expression=self.expression,
            hair=self.hair,
            glasses=self.glasses,
            facial_hair=self.facial_hair,
            lipstick=self.lipstick,
            rosy=self.rosy,
            detail=self.detail,
        )


@dataclass(frozen=True)
class View:
    """One picture of a head: angles in degrees, a light's name, colour or grey, the framing.

    See `lib.faces.render.render_head` for ``shift`` and ``zoom``.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    light: str = "soft"
    colour: bool = False
    shift: tuple = (0.0, 0.0)
    zoom: float = 1.0

    def render(self, head, *, size, supersample=2, buffers=False):
        """The picture: a `lib.faces.render.Render`."""
        return render_head(
            head,
            yaw=self.yaw,
            pitch=self.pitch,
            roll=self.roll,
            light=self.light,
            colour=self.colour,
            size=size,
            supersample=supersample,
            buffers=buffers,
            shift=self.shift,
            zoom=self.zoom,
        )
