"""The verbs. Nothing heavy is imported here: a verb's module is imported when it is used, torch by its job alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from metamtl.errors import Interrupted, MetamtlError, UsageError

VERBS = {
    "train": ("metamtl.commands.train", "train a learner on tasks, then test it on held-out classes"),
    "eval": ("metamtl.commands.eval", "test a finished run, with other ways and shots if you like"),
    "sweep": ("metamtl.commands.sweep", "search hyper-parameters: many runs, judged by validation"),
    "resume": ("metamtl.commands.resume", "continue a run or a multirun that was stopped"),
    "compare": ("metamtl.commands.compare", "runs beside one another: which is better, and whether for sure"),
    "dashboard": ("metamtl.commands.dashboard", "the runs in a browser, live while they train"),
    "report": ("metamtl.commands.report", "what the dashboard shows, as one file"),
    "adapt": ("metamtl.commands.adapt", "teach a finished run your own classes, and predict your pictures"),
    "predict": ("metamtl.commands.predict", "predict pictures with a model that adapt saved"),
    "export": ("metamtl.commands.export", "programs that run without metamtl: torch.export and ONNX"),
    "list": ("metamtl.commands.list_options", "every option there is, with a line of what it is"),
    "reproduce": ("metamtl.commands.reproduce", "run the rows of a table of published results within a budget"),
    "doctor": ("metamtl.commands.doctor", "what is installed, which device, which data, and what to do"),
    "bench": ("metamtl.commands.bench", "what a step, an episode, a test and a start cost, beside other libraries"),
    "completion": ("metamtl.commands.completion", "a script that completes commands in your shell"),
}

HELP = """usage: metamtl VERB [...]

{verbs}

metamtl VERB --help says more.

examples:
  metamtl train                               five-way one-shot on rendered scripts; nothing to download
  metamtl train algo=maml data=omniglot
  metamtl train -m algo=maml,protonet seed=0,1,2
  metamtl eval outputs/RUN task.shots=5
  metamtl compare outputs
  metamtl list algo"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage, 128 + signal interrupted."""
    arguments = [_at_home(word) for word in (sys.argv[1:] if argv is None else argv)]
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has left; say nothing, not even when Python flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except (Exception, Interrupted) as error:
        return _report(error)


def _at_home(word: str) -> str:
    """`KEY=~/folder` with the home folder, which shells put in of keys without a dot alone."""
    key, sign, value = word.partition("=")
    meant = sign and not key.startswith("~") and (value == "~" or value.startswith("~/"))
    return f"{key}={os.path.expanduser(value)}" if meant else word  # noqa: PTH111 (pathlib takes long to import)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP.format(verbs="\n".join(f"  {verb:<12}{line}" for verb, (_, line) in VERBS.items())))
        return 0 if arguments else 2
    verb, rest = arguments[0], arguments[1:]
    if verb == "--version":
        from metamtl import __version__

        print(__version__)
        return 0
    if verb not in VERBS:
        return _unknown(verb)
    from importlib import import_module

    command = import_module(VERBS[verb][0])
    if "-h" in rest or "--help" in rest:
        print(command.HELP)
        return 0
    code: int = command.main(rest)
    return code


def _unknown(verb: str) -> int:
    from metamtl.config.hints import did_you_mean, nearest

    found = nearest(verb, VERBS)
    hint = did_you_mean(f"metamtl {found}" if found else None)
    print(f"metamtl {verb}: no such verb{hint} There are {', '.join(VERBS)}.", file=sys.stderr)
    return 2


def _report(error: Exception | Interrupted) -> int:
    from metamtl.failures import sentence

    code = error.exit_code if isinstance(error, MetamtlError | Interrupted) else 1
    # Under torchrun every process finds the same wrong usage; one of them says it.
    if not (isinstance(error, UsageError) and os.environ.get("RANK", "0") != "0"):
        print(sentence(error), file=sys.stderr)
    return code
