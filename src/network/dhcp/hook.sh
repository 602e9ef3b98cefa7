#!/bin/sh
# The DHCP client calls this script with the variables of an event. pipework reads the file and validates every value.
event=${1-}${reason-}
case $event in deconfig | PREINIT* | CARRIER | NOCARRIER* | STOP* | ARP* | ROUTERADVERT | DELEGATED6) exit 0 ;; esac
umask 077
env -0 "event=$event" > "$PIPEWORK_DHCP/new.$$" && exec mv "$PIPEWORK_DHCP/new.$$" "$PIPEWORK_DHCP/event"
