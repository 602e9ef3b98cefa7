# bash completion for pipework. Also printed by: pipework completion bash

_pipework() {
  local line=${COMP_LINE:0:COMP_POINT} piece program head class='' char i
  local -a words=() starts=() rests=() reply=()
  # Bash takes words apart at : = and @; here they are as typed.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    piece=${COMP_WORDS[i]}
    if ((i == 0)) || [[ $line == [[:space:]]* ]]; then
      while [[ $line == [[:space:]]* ]]; do line=${line:1}; done
      words+=('')
      starts+=("$i")
      rests+=("$line")
    fi
    ((i < COMP_CWORD)) || piece=$line
    words[-1]+=$piece
    line=${line#"$piece"}
  done
  words=("${words[@]//[\\\'\"]/}")
  program=${words[0]}
  [[ $program != [~]/* ]] || program=$HOME/${program:2}
  mapfile -t reply < <(command "$program" __complete -- "${words[@]:1}" 2> /dev/null)
  COMPREPLY=()
  case ${reply[0]-} in
    words) ;;
    files)
      compopt -o default 2> /dev/null
      return
      ;;
    handover*)
      _pipework_handover "${reply[0]}"
      return
      ;;
    *) return ;;
  esac
  for char in : = @; do [[ $COMP_WORDBREAKS != *"$char"* ]] || class+=$char; done
  head=''
  [[ -z $class ]] || head=${words[-1]%"${words[-1]##*["$class"]}"}
  for piece in "${reply[@]:1}"; do
    piece=${piece%%$'\t'*}
    printf -v piece %q "${piece#"$head"}"
    COMPREPLY+=("$piece")
  done
  compopt -o nosort 2> /dev/null
  [[ ${#COMPREPLY[@]} -ne 1 || ${COMPREPLY[0]} != *[:=@,] ]] || compopt -o nospace 2> /dev/null
}

# What follows the guest is another program's: its own completion goes on, where bash-completion is there to find it.
_pipework_handover() {
  local -a answer
  IFS=$'\t' read -r -a answer <<< "$1"
  local first=$((answer[1] + 1))
  COMP_LINE="${answer[*]:2} ${rests[first]}"
  COMP_LINE=${COMP_LINE# }
  COMP_POINT=${#COMP_LINE}
  COMP_CWORD=$((COMP_CWORD - starts[first] + ${#answer[@]} - 2))
  COMP_WORDS=("${answer[@]:2}" "${COMP_WORDS[@]:starts[first]}")
  if declare -F _comp_command_offset > /dev/null; then
    _comp_command_offset 0
  elif declare -F _command_offset > /dev/null; then
    _command_offset 0
  elif ((COMP_CWORD == 0)); then
    mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[0]}")
  else
    compopt -o default 2> /dev/null
  fi
} 2> /dev/null

complete -F _pipework pipework
