"""What may be copied into a shell."""

COMMANDS = {
    *("chmod", "cp", "df", "docker", "env", "grep", "mizzle", "mkdir", "mosquitto_pub", "mv", "python", "python3"),
    *("redis-cli", "sudo"),
}


def is_command(text: str) -> bool:
    """Whether it can be copied into a shell: it begins with a program's name, and no sentence follows."""
    return text.split(" ", maxsplit=1)[0] in COMMANDS and ", " not in text
