# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mcrctl_global_optspecs
    string join \n socket= json h/help V/version
end

function __fish_mcrctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mcrctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mcrctl_using_subcommand
    set -l cmd (__fish_mcrctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mcrctl -n "__fish_mcrctl_needs_command" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_needs_command" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -s V -l version -d 'Print version'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "add" -d 'Add a rule to the running set'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "remove" -d 'Remove a rule from the running set'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "list" -d 'List the rules and where they stand'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "show" -d 'Show one rule'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "stats" -d 'Show the counters of all rules, or of one with its legs'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "workers" -d 'Show the worker processes'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "doctor" -d 'Say why rules do not relay, as checks with what was seen and what to do'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "apply" -d 'Make a rule file the running set, whole or not at all'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "save" -d 'Write the running set to a file that apply reads'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "log-level" -d 'Show or change what the daemon logs'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "ping" -d 'Ask whether the daemon answers'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "version" -d 'Show the versions of mcrctl and of the daemon'
complete -c mcrctl -n "__fish_mcrctl_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand add" -l engine -d 'What moves the packets: auto, userspace or tc' -r
complete -c mcrctl -n "__fish_mcrctl_using_subcommand add" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_using_subcommand add" -l replace -d 'Take the place of a rule of this name'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand add" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand add" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand remove" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_using_subcommand remove" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand remove" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand list" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_using_subcommand list" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand list" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand show" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_using_subcommand show" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand show" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand stats" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_using_subcommand stats" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand stats" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand workers" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_using_subcommand workers" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand workers" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand doctor" -l listen -d 'How long to listen for packets that arrive, 0 to 10 [default: 1.5]' -r
complete -c mcrctl -n "__fish_mcrctl_using_subcommand doctor" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_using_subcommand doctor" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand apply" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_using_subcommand apply" -l dry-run -d 'Only print what would be done'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand apply" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand apply" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand save" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_using_subcommand save" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand save" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand log-level" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_using_subcommand log-level" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand log-level" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand ping" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_using_subcommand ping" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand ping" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand version" -l socket -d 'The daemon\'s control socket' -r -F
complete -c mcrctl -n "__fish_mcrctl_using_subcommand version" -l json -d 'Print the daemon\'s JSON documents, errors as {"error": …}'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand version" -s h -l help -d 'Print help'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "add" -d 'Add a rule to the running set'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "remove" -d 'Remove a rule from the running set'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "list" -d 'List the rules and where they stand'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "show" -d 'Show one rule'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "stats" -d 'Show the counters of all rules, or of one with its legs'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "workers" -d 'Show the worker processes'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "doctor" -d 'Say why rules do not relay, as checks with what was seen and what to do'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "apply" -d 'Make a rule file the running set, whole or not at all'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "save" -d 'Write the running set to a file that apply reads'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "log-level" -d 'Show or change what the daemon logs'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "ping" -d 'Ask whether the daemon answers'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "version" -d 'Show the versions of mcrctl and of the daemon'
complete -c mcrctl -n "__fish_mcrctl_using_subcommand help; and not __fish_seen_subcommand_from add remove list show stats workers doctor apply save log-level ping version help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
