"""What may be copied into a shell."""

COMMANDS = {"chmod", "df", "env", "ls", "mizzle", "mkdir", "mosquitto_pub", "nc", "python", "redis-cli", "sudo"}


def is_command(text: str) -> bool:
    """Whether it can be copied into a shell: it begins with a program's name, and no sentence follows."""
    return text.split(" ", maxsplit=1)[0] in COMMANDS and ", " not in text
