# bash completion for roomkey: the program itself knows what may come next.
_roomkey()
{
    local words
    words=$(roomkey --complete "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)
    # A colon separates words in bash: offer what is behind the one that is typed.
    local cur=${COMP_WORDS[COMP_CWORD]}
    if declare -F __ltrim_colon_completions >/dev/null; then
        _get_comp_words_by_ref -n : cur
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    if declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "$cur"
    fi
}
complete -o default -F _roomkey roomkey
