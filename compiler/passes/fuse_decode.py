"""Let the VAE decoder write 8-bit pictures."""

from __future__ import annotations

from dataclasses import replace

from compiler.passes.driver import Change, Context, PassResult
from compiler.passes.forms import forms_of
from compiler.passes.rewrite import Names, merged_nodes, restructured, uses
from graphs.program import NetworkUse, Program, Step
from graphs.roles import U8

DECODE, CONVERT, FUSED = "decode_latent", "image_to_u8", "decode_latent_u8"
DECODER, DECODER_U8 = "vae_decoder", "vae_decoder_u8"  # roles of the steps


def fuse_decode(program: Program, context: Context) -> PassResult[Program]:
    """Let the VAE decoder write 8-bit pictures.

    1. A `decode_latent` whose image is used by one `image_to_u8` and nothing else becomes one `decode_latent_u8`, in
    the place of the decode, where its decoder has such a form; the float image (four times as large) never exists.
    2. It calls a decoder with the conversion at its end: the same weights and options, another kind of network.
    Bound: equal where the network computes in float32; else at most 1/255 where the conversion sees a rounded value.
    """
    users = uses(program)
    fused: dict[str, Step] = {}  # decode step id -> its conversion
    for step in program.steps:
        if step.op != DECODE or U8 not in forms_of(program.networks[step.networks[DECODER]].kind):
            continue
        if len(found := users.get(step.outputs[0], [])) == 1 and found[0].op == CONVERT:
            fused[step.id] = found[0]
    if not fused:
        return PassResult(program)
    networks = dict(program.networks)
    names = Names(program)
    gone = {conversion.id for conversion in fused.values()}
    steps: list[Step] = []
    changes = []
    for step in program.steps:
        conversion = fused.get(step.id)
        if conversion is not None:
            network = _decoder(networks, step.networks[DECODER], names)
            steps.append(_fused_step(step, conversion, network))
            changes.append(Change(step.id, f"decodes to 8 bits in one step with {conversion.id}"))
        elif step.id not in gone:
            steps.append(step)
    called = {network for step in steps for network in step.networks.values()}
    networks = {name: use for name, use in networks.items() if name in called or U8 not in forms_of(use.kind)}
    return PassResult(replace(restructured(program, steps), networks=networks), tuple(changes))


def _fused_step(decode: Step, conversion: Step, network: str) -> Step:
    return Step(
        id=decode.id,
        op=FUSED,
        inputs=dict(decode.inputs),
        attrs={**conversion.attrs, **decode.attrs},
        outputs=conversion.outputs,
        networks={DECODER_U8: network},
        nodes=merged_nodes(decode, conversion),
    )


def _decoder(networks: dict[str, NetworkUse], plain: str, names: Names) -> str:
    """The id of the 8-bit twin of a decoder, made on first use."""
    source = networks[plain]
    kind = forms_of(source.kind)[U8]
    for network in networks.values():
        if (network.kind, network.weights, network.options) == (kind, source.weights, source.options):
            return network.id
    twin = replace(source, id=names.network(plain.replace(source.kind, kind, 1)), kind=kind)
    networks[twin.id] = twin
    return twin.id
