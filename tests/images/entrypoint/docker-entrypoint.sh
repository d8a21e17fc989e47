#!/bin/sh
# The first process of a @SERVER@ container.
set -e

# Options alone, or a configuration file, are for the server.
case "$1" in
-* | *.conf) set -- @SERVER@ "$@" ;;
esac

# As root, the server's data are made its user's own, and then root is given up
# for good: this script starts anew as that user.
if [ "$1" = @SERVER@ ] && [ "$(id -u)" = 0 ]; then
	find . ! -user @USER@ -exec chown @USER@ {} +
	exec setpriv --reuid=@USER@ --regid=@USER@ --clear-groups -- "$0" "$@"
fi

# Data files are nobody else's to read, unless the umask was chosen by someone.
if [ "$(umask)" = 0022 ]; then
	umask 0077
fi

# The extra flags are many words, so they stay unquoted.
# shellcheck disable=SC2086
exec "$@" @EXTRA@
