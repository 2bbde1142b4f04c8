# Completion of attn for bash. In ~/.bashrc: source /path/to/attn.bash
# or put it, called attn, into ~/.local/share/bash-completion/completions.

_attn_completion() {
    local IFS=$'\n' line type value
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
            file) type compopt >/dev/null 2>&1 && compopt -o default ;;
            dir) type compopt >/dev/null 2>&1 && compopt -o dirnames ;;
            plain) COMPREPLY+=("$value") ;;
        esac
        [[ $value == *= || $value == *: ]] && type compopt >/dev/null 2>&1 && compopt -o nospace
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_PIECE="${COMP_WORDS[COMP_CWORD]}" \
        _ATTN_COMPLETE=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F _attn_completion attn 2>/dev/null || complete -F _attn_completion attn
