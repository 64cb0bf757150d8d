"""What attackers type where Okta lets them: user agents, device names, user names."""

from __future__ import annotations

PAYLOADS = {
    # terminals
    "clear screen": "\x1b[2J\x1b[H",
    "colour left on": "\x1b[31;5;7mALERT",
    "window title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "answer-back": "\x1b[c\x1b[6n\x1b[21t\x1bP$qm\x1b\\",
    "eight-bit control": "\x9b31mred\x9d0;owned\x9c",
    "backspace": "harmless\b\b\b\b\b\b\b\bharmful",
    "carriage return": "failed login\rok          ",
    "new line": "one\r\npoller: all is well\n",
    "vertical moves": "one\x0btwo\x0cthree\x1cfour\x1dfive\x1esix",
    "line separators": "one\u2028two\u2029three\x85four",
    "bell and delete": "\x07\x7f\x00\x0e\x1a",
    "cut-off sequence": "\x1b]0;",
    # eyes
    "right to left": "\u202etxt.exe\u202c \u200f\u061c",
    "isolates": "\u2066admin\u2069 \u2067x\u2069 \u2068y\u2069",
    "invisible": "ad\u200bmin\ufeff\u2060\u00ad\u3164\uffa0\u115f",
    "tag characters": "ok\U000e0041\U000e007f\U000e0001",
    "variation selectors": "a\ufe00\ufe0f\U000e0100\u180b",
    "heap of marks": "Z\u0335\u0321\u0322\u0327\u0328\u0330\u0331" * 8 + "\u20dd" * 40,
    "joined emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "look-alikes": "\u0430lice@ex\u0430mple.com \uff1cadmin\uff1e",
    "no characters": "\uffff\ufffe\ufdd0\U0010ffff\ufff9x\ufffb",
    # what only some can store
    "nul": "ali\x00ce\x00",
    "lone surrogates": "\ud800x\udfff\udc00\ud800",
    # spreadsheets
    "formula": '=HYPERLINK("https://evil.example","x")',
    "dde": "=cmd|' /C calc'!A0",
    "plus": "+1+cmd|'/C calc'!A0",
    "minus": "-2+3+cmd|'/C calc'!A0",
    "at": "@SUM(1+1)*cmd|'/C calc'!A0",
    "formula behind space": " \t+cmd|' /C calc'!A0",
    "full-width formula": "\u3000\uff1d1+1",
    "formula behind a separator": "x;=1+1;\t@x\t=1",
    "quotes and commas": '",\'";=1+1,"',
    # markup
    "rich markup": "[bold red]not bold[/] [link=https://evil.example]x[/link] :smile: [/] [",
    "markdown": "[click](https://evil.example) ![x](https://evil.example/x.png) **b** `c` | d |\n# e",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>&lt;\"'>",
    "chat": "<!channel> <https://evil.example|x> @here *b*",
    # other languages
    "sql": "'; drop table events; -- \" \\' $$ %s :since ?",
    "formats": "%s%n%(x)s {0} {user} {org.__class__} {{x}} ${HOME} $(reboot) `reboot`",
    "summary template": "{count:a|b} {login.places|first} {}",
    "shell": "'; reboot; echo '\\'' $(reboot) `reboot` | tee x & !!",
    "log fields": "x level=error event=org.failed org=evil",
    "json": '", "severity": "critical", "x": "\\u001b[2J\\',
    "backslashes": "\\x1b[31m \\u202e \\ \\\\ C:\\new",
    "credentials": "SSWS 00not-a-real-one Bearer abc.def",
    # size
    "huge": "A" * 50_000,
    "huge and hostile": "\x1b[31m\u202e" * 5_000,
}
