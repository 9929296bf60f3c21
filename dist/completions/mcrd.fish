complete -c mcrd -l config -d 'Rule file; without this option /etc/mcr/mcr.toml, which may be absent' -r -F
complete -c mcrd -l socket -d 'Control socket' -r -F
complete -c mcrd -l cores -d 'Cores to run a worker on each, like 0,2-3 [default: all that are allowed]' -r
complete -c mcrd -l log -d 'How log lines are written' -r -f -a "text\t'A line of text an event'
json\t'A JSON object an event'"
complete -c mcrd -l check -d 'Only say whether the configuration is valid: exit code 0 or 2'
complete -c mcrd -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcrd -s V -l version -d 'Print version'
