"""`metamtl completion`: a script for the shell, and the completions that the script asks for."""

from __future__ import annotations

from collections.abc import Sequence

from metamtl.errors import UsageError

HELP = """usage: metamtl completion bash|zsh|fish

Print a script that completes verbs, groups, options, keys and values in your shell.

examples:
  source <(metamtl completion bash)        now; put it into ~/.bashrc to keep it
  metamtl completion zsh > ~/.zfunc/_metamtl
  metamtl completion fish > ~/.config/fish/completions/metamtl.fish"""

# Bash cuts words at `=`, so the line itself is taken, and what stands before the last `=` is cut from the replies.
BASH = r"""_metamtl() {
    local line="${COMP_LINE:0:COMP_POINT}" words found cut
    read -ra words <<< "$line"
    [[ "$line" == *" " ]] && words+=("")
    local current="${words[-1]}"
    mapfile -t found < <("${words[0]}" completion --words "${words[@]:1}" 2>/dev/null)
    cut=""
    [[ "$COMP_WORDBREAKS" == *=* && "$current" == *=* ]] && cut="${current%%=*}="
    COMPREPLY=("${found[@]#"$cut"}")
    [[ "${#found[@]}" -eq 1 && "${found[0]}" == *[=.] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o default -F _metamtl metamtl"""

ZSH = r"""#compdef metamtl
_metamtl() {
    local -a found
    found=("${(@f)$(metamtl completion --words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    found=("${(@)found:#}")
    if (( ${#found} )); then compadd -S '' -- "${(@)found}"; else _files; fi
}
if [[ "$funcstack[1]" == _metamtl ]]; then _metamtl "$@"; else compdef _metamtl metamtl; fi"""

FISH = r"""function __metamtl
    set -l before (commandline -opc)
    set -l found (metamtl completion --words $before[2..-1] (commandline -ct) 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c metamtl -f -a '(__metamtl)'"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def main(arguments: Sequence[str]) -> int:
    """Print a shell's script, or with `--words` the completions of the last word."""
    if arguments and arguments[0] == "--words":
        for found in complete(arguments[1:] or [""]):
            print(found)
        return 0
    if len(arguments) != 1 or arguments[0] not in SCRIPTS:
        raise UsageError(f"metamtl completion takes one of {', '.join(SCRIPTS)}.")
    print(SCRIPTS[arguments[0]])
    return 0


def complete(words: Sequence[str]) -> list[str]:
    """The whole words that the last of `words` (those after `metamtl`) may become."""
    from metamtl.cli import VERBS
    from metamtl.config import complete as config
    from metamtl.config.library import Library

    verb, *rest = words
    if not rest:
        return sorted(name for name in VERBS if name.startswith(verb))
    if verb == "train":
        return config.train(rest)
    library = Library.load()
    if verb == "list":
        return sorted(name for name in (*library.groups, "--json", "--config-dir") if name.startswith(rest[-1]))
    if verb == "completion":
        return sorted(name for name in SCRIPTS if name.startswith(rest[-1]))
    if verb in ("eval", "resume", "doctor") and (len(rest) > 1 or verb == "doctor"):
        defaults = library.chosen({"trainer": "default", "eval": "default"})
        return config.keys_and_values(library, defaults, rest[-1], groups=False)
    return []  # a run's folder: the shell completes it
