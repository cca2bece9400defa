"""``forcemap completion``: lets a shell complete commands, options and names of files.

The scripts speak click's protocol: they call forcemap with ``_FORCEMAP_COMPLETE=SHELL_complete``, and
click answers with one candidate each (its type, its value, its help). They are written here since those
of click, as of 8.5, need a zsh that has run compinit, replace ``--option=val`` by the bare value in
zsh, complete no ``--option=val`` in bash and fish, and cut fish's descriptions at the first comma.
"""

from __future__ import annotations

import click

__all__ = ["completion"]

EXAMPLE = "forcemap completion bash > ~/.forcemap.bash"

BASH = r"""# Completion of forcemap for bash 4.4 or later.
_forcemap_completion() {
    local IFS=$'\n' i type value words=() joined=
    # bash takes --option=value apart.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == = && ${words[-1]} == --* ]]; then
            words[-1]+='='
            joined=1
        elif [[ $joined ]]; then
            words[-1]+=${COMP_WORDS[i]}
            joined=
        else
            words+=("${COMP_WORDS[i]}")
        fi
    done
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \
        _FORCEMAP_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _forcemap_completion forcemap
"""

ZSH = r"""#compdef forcemap
# Completion of forcemap for zsh.
_forcemap_completion() {
    local type value help word=${words[CURRENT]}
    local -a answer plain described
    answer=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \
        _FORCEMAP_COMPLETE=zsh_complete ${~words[1]} 2>/dev/null)}")
    # Of --option=value, the value is completed.
    [[ $word == --*=* ]] && compset -P '--*='
    for type value help in $answer; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain)
                if [[ $help == _ ]]; then plain+=("$value"); else described+=("$value:$help"); fi ;;
        esac
    done
    [[ -n $described ]] && _describe -V unsorted described
    [[ -n $plain ]] && compadd -V unsorted -a plain
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _forcemap_completion "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
    compdef _forcemap_completion forcemap
fi
"""

FISH = r"""# Completion of forcemap for fish.
function _forcemap_completion
    set -l words (commandline -cop) (commandline -ct)
    # Candidates replace all of --option=value.
    set -l before (string replace -r '^(--[^=]+=)?.*' '$1' -- "$words[-1]")
    for line in (env COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -ct) \
            _FORCEMAP_COMPLETE=fish_complete $words[1] 2>/dev/null)
        set -l answer (string split -m 1 , -- $line)
        switch $answer[1]
            case dir
                string replace -r '^' -- $before (__fish_complete_directories $answer[2])
            case file
                string replace -r '^' -- $before (__fish_complete_path $answer[2])
            case plain
                echo -- $before$answer[2]
        end
    end
end
complete --no-files --command forcemap --arguments "(_forcemap_completion)"
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@click.command(epilog=f"Example: {EXAMPLE}")
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print the script that lets SHELL complete forcemap's commands, options and names of files.

    To have it in every new shell, for

    \b
    bash (4.4 or later):
      forcemap completion bash > ~/.forcemap.bash
      echo '. ~/.forcemap.bash' >> ~/.bashrc
    zsh:
      forcemap completion zsh > ~/.forcemap.zsh
      echo '. ~/.forcemap.zsh' >> ~/.zshrc
    fish:
      mkdir -p ~/.config/fish/completions
      forcemap completion fish > ~/.config/fish/completions/forcemap.fish
    """
    click.echo(SCRIPTS[shell], nl=False)
