# fish completion for pipework. Also printed by: pipework completion fish

function __pipework_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -l before $words[2..-1]
    set -l reply (command $program __complete -- $before (string unescape -- "$current"; or echo "$current") 2>/dev/null)
    switch "$reply[1]"
        case words
            printf '%s\n' $reply[2..-1]
        case files
            __fish_complete_path "$current"
        case 'handover*'
            # What follows the guest is another program's: its own completion goes on.
            set -l answer (string split \t -- $reply[1])
            set -l first (math $answer[2] + 1)
            set -l rest
            test $first -le (count $before); and set rest (string escape -- $before[$first..-1])
            complete -C (string join ' ' -- $answer[3..-1] $rest "$current")
    end
end

complete -c pipework -f -k -a '(__pipework_complete)'
