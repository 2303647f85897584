"""What may be said of a scene: many phrasings, each true."""

from __future__ import annotations

import numpy as np

from training.scenes import Scene, Thing

NUMBERS = ("zero", "one", "two", "three", "four", "five")
_SIZE_WORDS = {"small": ("small", "tiny", "little"), "large": ("large", "big", "huge")}
_PLURALS = {"cross": "crosses"}
_SMILES = ("smiling", "happy")
_TEXTURE_WORDS = {"striped": ("striped",), "dotted": ("dotted", "spotted")}
_OPENINGS = (
    "", "", "", "", "", "a picture of ", "a drawing of ", "an image of ", "an illustration of ", "a painting of ",
    "there is ", "a simple picture with ", "draw ", "please draw ",
)  # fmt: skip
_PLACE_WORDS = {
    "middle": ("in the middle", "in the center", "in the centre", "in the middle of the picture"),
    "left": ("on the left", "on the left side", "at the left"),
    "right": ("on the right", "on the right side", "at the right"),
    "top": ("at the top", "at the top of the picture", "up high"),
    "bottom": ("at the bottom", "at the bottom of the picture", "down low"),
    "top left": ("in the top left corner", "at the top left", "in the upper left corner"),
    "top right": ("in the top right corner", "at the top right", "in the upper right corner"),
    "bottom left": ("in the bottom left corner", "at the bottom left", "in the lower left corner"),
    "bottom right": ("in the bottom right corner", "at the bottom right", "in the lower right corner"),
}
_RELATION_WORDS = {
    "left": ("left of", "to the left of", "on the left of", "on the left side of"),
    "right": ("right of", "to the right of", "on the right of", "on the right side of"),
    "above": ("above", "over", "higher than", "above"),
    "below": ("below", "under", "beneath", "lower than"),
}
_SIDES = {
    "left": ("on the left", "on the right"), "right": ("on the right", "on the left"),
    "above": ("at the top", "at the bottom"), "below": ("at the bottom", "at the top"),
}  # fmt: skip
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def caption(rng: np.random.Generator, scene: Scene, *, plain: bool = False) -> str:
    """plain: everything that is asked for is said: colours, shapes and the background are never left out."""
    say = _Words(rng, 0.0 if plain else 0.05)
    body = _body(say, scene)
    behind = "" if not plain and rng.random() < 0.1 else say.background(scene)
    opening = say.pick(_OPENINGS)
    if opening == "there is " and scene.counts[0] > 1:
        opening = "there are "
    form = rng.random()
    if not behind:
        text = opening + body
    elif form < 0.8:
        text = f"{opening}{body} {behind}"
    elif form < 0.9:
        text = f"{opening}{body}, {say.ground(scene)} background"
    else:
        text = f"{behind}, {body}"
    return text + say.pick(("", "", "", "."))


def _body(say: _Words, scene: Scene) -> str:
    first, last = scene.things[0], scene.things[-1]
    if scene.kind == "one":
        place = f" {say.pick(_PLACE_WORDS[scene.place])}" if scene.place else ""
        return say.group(first, 1) + place
    if scene.kind == "many":
        return say.group(first, scene.counts[0])
    if scene.kind == "groups":
        return f"{say.group(first, scene.counts[0])} and {say.group(last, scene.counts[1])}"
    if scene.kind == "list":
        a, b, c = (say.group(t, 1) for t in scene.things)
        return f"{a}, {b} and {c}"
    a, b = say.group(first, 1), say.group(last, 1)
    form = say.rng.random()
    if form < 0.2:
        here, there = _SIDES[scene.relation]
        return f"{a} {here} and {b} {there}"
    if form < 0.35:
        return f"{b} {say.pick(_RELATION_WORDS[_OPPOSITE[scene.relation]])} {a}"
    return f"{a} {say.pick(_RELATION_WORDS[scene.relation])} {b}"


class _Words:
    """vague: how often a colour or a shape is left open."""

    def __init__(self, rng: np.random.Generator, vague: float) -> None:
        self.rng, self.vague = rng, vague

    def pick(self, choices: tuple[str, ...]) -> str:
        return choices[int(self.rng.integers(len(choices)))]

    def group(self, thing: Thing, count: int) -> str:
        """ "a small red circle", "two striped blue stars"."""
        words = []
        if thing.size in _SIZE_WORDS and self.rng.random() < 0.8:
            words.append(self.pick(_SIZE_WORDS[thing.size]))
        if thing.smiling:
            words.append(self.pick(_SMILES))
        if thing.texture in _TEXTURE_WORDS and self.rng.random() < 0.9:
            words.append(self.pick(_TEXTURE_WORDS[thing.texture]))
        if self.rng.random() >= self.vague:
            words.append("gray" if thing.colour == "grey" else thing.colour)
        noun = thing.shape if self.rng.random() >= self.vague else "shape"
        if count == 1:
            words.append(noun)
            article = "an" if words[0][0] in "aeio" else "a"
            form = self.rng.random()
            return " ".join([article, *words]) if form < 0.88 else " ".join(["one" if form < 0.94 else "1", *words])
        words.append(_PLURALS.get(noun, noun + "s"))
        number = NUMBERS[count] if self.rng.random() < 0.85 else str(count)
        return " ".join([number, *words])

    def ground(self, scene: Scene) -> str:
        pattern = f"{self.pick(_TEXTURE_WORDS[scene.pattern])} " if scene.pattern != "plain" else ""
        colour = self.pick(("grey", "gray")) if scene.background == "grey" else scene.background
        return pattern + colour

    def background(self, scene: Scene) -> str:
        ground = self.ground(scene)
        article = "an" if ground[0] in "aeio" else "a"
        behind = f"{article} {ground} background"
        return self.pick((f"on {behind}", f"on {behind}", f"on {ground}", f"with {behind}", f"in front of {behind}"))
