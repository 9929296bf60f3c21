# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mcrgen_global_optspecs
    string join \n json h/help V/version
end

function __fish_mcrgen_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mcrgen_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mcrgen_using_subcommand
    set -l cmd (__fish_mcrgen_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mcrgen -n "__fish_mcrgen_needs_command" -l json -d 'Print one JSON object on standard output instead of text'
complete -c mcrgen -n "__fish_mcrgen_needs_command" -s h -l help -d 'Print help'
complete -c mcrgen -n "__fish_mcrgen_needs_command" -s V -l version -d 'Print version'
complete -c mcrgen -n "__fish_mcrgen_needs_command" -f -a "send" -d 'Send numbered, time-stamped datagrams'
complete -c mcrgen -n "__fish_mcrgen_needs_command" -f -a "recv" -d 'Receive them and account for every one: exit code 1 on loss, duplicates, corruption or nothing received'
complete -c mcrgen -n "__fish_mcrgen_needs_command" -f -a "bench" -d 'Measure a relay, router or switch between two or more interfaces of this host, by RFC 3918'
complete -c mcrgen -n "__fish_mcrgen_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c mcrgen -n "__fish_mcrgen_using_subcommand send" -l rate -d 'Packets per second over all flows, or `max`' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand send" -l size -d 'UDP payload, the header of 18 bytes included' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand send" -l flows -d 'Number of flows, served in turn' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand send" -l duration -d 'End after this many seconds (default: at SIGINT)' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand send" -l count -d 'End after offering this many packets over all flows' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand send" -l source -d 'Source address; one this host does not own takes CAP_NET_ADMIN. SOURCE@ADDRESS says the same' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand send" -l ttl -d 'TTL or hop limit' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand send" -l dscp -d 'Differentiated services code point, 0 to 63' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand send" -l json -d 'Print one JSON object on standard output instead of text'
complete -c mcrgen -n "__fish_mcrgen_using_subcommand send" -s h -l help -d 'Print help'
complete -c mcrgen -n "__fish_mcrgen_using_subcommand recv" -l flows -d 'Number of flows' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand recv" -l duration -d 'End after this many seconds; sooner if there is silence' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand recv" -l silence -d 'End after this many seconds without a packet, once there was one' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand recv" -l count -d 'End with this many different packets over all flows; what lacks of them is lost' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand recv" -l json -d 'Print one JSON object on standard output instead of text'
complete -c mcrgen -n "__fish_mcrgen_using_subcommand recv" -s h -l help -d 'Print help'
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l tx -d 'Where to send: ENDPOINT[/NETNS], flow i to group+i. NETNS is a name of `ip netns` or a path' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l rx -d 'Where the device sends to, flow i to group+i; once for each receiver' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l size -d 'UDP payloads in bytes, each measured by itself: sizes and `imix`. Or one mix: SIZE:WEIGHT,...' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l fanout -d 'Outputs of the device for each flow: the first N receivers, and again with the next ports' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l groups -d 'Numbers of flows, each to a group of its own (default: 1; matrix: 1,10,100; capacity: searched)' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l load -d 'Packets per second: of all flows for latency (default: 10000) and join (10000), of each for capacity (10)' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l loss -d 'Part of the packets an output may lose in a trial that passes, 0 up to below 1 (default: 0)' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l most -d 'Never offer more than this' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l trial -d 'How long a trial offers packets' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l repeat -d 'How often each measurement is made' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l wait -d 'Longest wait for flows to come after set-up or a join, or to end after a leave' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l residual -d 'How long after a trial\'s last packet others are still waited for; what comes later is lost' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l setup -d 'Run by `sh -c` before each step, to set the device up: see mcrgen(1) for what it is told' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l join -d 'What makes the device forward (default: the receivers join)' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l leave -d 'What makes it stop' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l unicast -d 'Unicast beside multicast: where to send, in the namespace of --tx, and where it arrives' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l unicast-share -d 'Unicast packets in a hundred (default: 50)' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l tx-core -d 'Core the sender runs on (default: the first there is)' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l rx-cores -d 'Cores the receivers run on, as in 0,2-3 (default: all but the sender\'s)' -r
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l out -d 'Write results.json, table.md and plots there' -r -F
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -l json -d 'Print one JSON object on standard output instead of text'
complete -c mcrgen -n "__fish_mcrgen_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcrgen -n "__fish_mcrgen_using_subcommand help; and not __fish_seen_subcommand_from send recv bench help" -f -a "send" -d 'Send numbered, time-stamped datagrams'
complete -c mcrgen -n "__fish_mcrgen_using_subcommand help; and not __fish_seen_subcommand_from send recv bench help" -f -a "recv" -d 'Receive them and account for every one: exit code 1 on loss, duplicates, corruption or nothing received'
complete -c mcrgen -n "__fish_mcrgen_using_subcommand help; and not __fish_seen_subcommand_from send recv bench help" -f -a "bench" -d 'Measure a relay, router or switch between two or more interfaces of this host, by RFC 3918'
complete -c mcrgen -n "__fish_mcrgen_using_subcommand help; and not __fish_seen_subcommand_from send recv bench help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
