echo "included for {{ params.name }}"
