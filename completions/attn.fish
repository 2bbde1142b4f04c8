# Completion of attn for fish: put it into ~/.config/fish/completions.

function __attn_complete
    set -l response (COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) \
        _ATTN_COMPLETE=fish_complete attn 2>/dev/null)
    for completion in $response
        set -l metadata (string split -m 1 "," -- $completion)
        switch $metadata[1]
            case dir
                __fish_complete_directories $metadata[2]
            case file
                __fish_complete_path $metadata[2]
            case plain
                echo $metadata[2]
        end
    end
end

complete --no-files --command attn --arguments "(__attn_complete)"
