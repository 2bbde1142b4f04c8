#compdef attn
# Completion of attn for zsh: put it, called _attn, into a folder of your $fpath,
# or, after compinit, in ~/.zshrc: source /path/to/attn.zsh

_attn() {
    local -a plain described response
    local type key description
    (( ! $+commands[attn] )) && return 1
    response=("${(@f)$(COMP_WORDS="${(j: :)words[1,CURRENT]}" COMP_CWORD=$((CURRENT - 1)) \
        _ATTN_COMPLETE=zsh_complete attn 2>/dev/null)}")
    for type key description in ${response}; do
        case $type in
            plain)
                if [[ $description == _ ]]; then
                    plain+=("$key")
                else
                    described+=("$key:$description")
                fi ;;
            dir) _path_files -/ ;;
            file) _path_files -f ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#plain )) && compadd -U -V unsorted -a plain
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _attn "$@"
else
    compdef _attn attn
fi
