"""What a line of a runbook can give away, as data rows.

A row matches a statement in which *every* one of its patterns occurs. Patterns start at a word and never span from
one part of a statement to the next, so each costs one pass however hostile the text.

``rare`` is True only for what did not occur at all in 412 ordinary public PowerShell runbooks and is named an
absolute rarity there: the managed-identity address, an encoded command, download with evaluation, tunnel hosts.
"""

import dataclasses
import re

POWERSHELL = frozenset({"PowerShell"})
PYTHON = frozenset({"Python"})
BOTH = POWERSHELL | PYTHON


@dataclasses.dataclass(frozen=True)
class Indicator:
    """One class of behaviour.

    ``needles``: lower-case texts of which a statement must hold one before any pattern is tried; the empty text
    lets every statement through. ``technique`` is an ATT&CK id, ``reason`` our own sentence.
    """

    name: str
    languages: frozenset[str]
    needles: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]
    reason: str
    technique: str
    rare: bool = False


def _all(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


# The whole label must match: neither evil-microsoft.com nor microsoft.com.evil.example nor microsoft.com@evil.example
# is Microsoft's.
_MICROSOFT_HOST = (
    r"(?:[^/\s\"'@]{0,200}\.)?(?:microsoft\.com|microsoft\.us|microsoftonline\.(?:com|us)|azure\.(?:com|net|us|cn)"
    r"|windows\.net|azure-automation\.(?:net|us|cn)|azurewebsites\.net|office\.com|office365\.com|office\.net"
    r"|sharepoint\.com|usgovcloudapi\.net|chinacloudapi\.cn|powerplatform\.com|loganalytics\.io|localhost"
    r"|127\.0\.0\.1|169\.254\.169\.254)(?::\d{1,5})?(?:[/\s\"'?#)]|$)"
)
# Not a variable: a host that the script computes cannot be judged here.
FOREIGN_URL = rf"https?://(?!{_MICROSOFT_HOST})[\w\[]"
FETCH = (
    r"\.Download(?:String|Data|File)(?:Async|TaskAsync)?\s{0,4}\(|\bStart-BitsTransfer\b|\burlopen\s{0,4}\("
    r"|\burlretrieve\s{0,4}\(|\brequests\.get\s{0,4}\("
    r"|(?<![\w.$-])(?:Invoke-RestMethod|Invoke-WebRequest|irm|iwr|curl|wget)(?![\w-])"
)
EVALUATE = (
    r"(?<![\w.$-])(?:Invoke-Expression|iex)(?![\w-])|\[scriptblock\]::create\b|\|\s{0,8}(?:ba|z|da)?sh\b"
    r"|(?<![\w.$-])(?:exec|eval)\s{0,4}\(|\bos\.system\s{0,4}\("
)
_IDENTITY_ENDPOINT = r"\b(?:IDENTITY_ENDPOINT|MSI_ENDPOINT)\b|\bX-IDENTITY-HEADER\b|\b169\.254\.169\.254\b"
_IDENTITY_NEEDLES = ("identity_endpoint", "msi_endpoint", "x-identity-header", "169.254.169.254")
_PUT = r"\bPUT\b"

DOWNLOAD_AND_EXECUTE = Indicator(
    "download-and-execute",
    BOTH,
    ("invoke-expression", "iex", "scriptblock", "exec", "eval", "os.system", "sh"),
    _all(EVALUATE, FETCH),
    "Downloads text and runs it: the code that runs is not in this runbook.",
    "T1105",
    rare=True,
)

# In the order in which a reader should see them.
INDICATORS = (
    Indicator(
        "identity-token",
        POWERSHELL,
        _IDENTITY_NEEDLES,
        _all(_IDENTITY_ENDPOINT),
        "Fetches a token of the managed identity by hand instead of signing in with it.",
        "T1552.005",
        rare=True,
    ),
    Indicator(
        "encoded-command",
        BOTH,
        ("-enc",),
        _all(r"(?<![\w-])-enc(?:odedcommand)?[\s:]{1,8}[\"']?(?:\$\w|[A-Za-z0-9+/=]{16})"),
        "Runs an encoded command: what it does cannot be read here.",
        "T1027.010",
        rare=True,
    ),
    Indicator(
        "encoded-command",
        BOTH,
        ("powershell", "pwsh"),
        # PowerShell takes any prefix of the parameter's name.
        _all(
            r"\b(?:powershell|pwsh)(?:\.exe)?\b",
            r"(?<![\w-])-e(?:c|n|nc|nco|ncod|ncode|ncoded\w{0,7})?[\s:]{1,8}[\"']?[A-Za-z0-9+/=]{16}",
        ),
        "Runs an encoded command: what it does cannot be read here.",
        "T1027.010",
        rare=True,
    ),
    DOWNLOAD_AND_EXECUTE,
    Indicator(
        "tunnel-host",
        BOTH,
        (".",),
        _all(
            r"(?<![\w-])(?:ngrok\.(?:io|app|dev|com)|ngrok-free\.(?:app|dev)|webhook\.site|pastebin\.com|paste\.ee"
            r"|hastebin\.com|api\.telegram\.org|discord(?:app)?\.com/api/webhooks|requestbin\.(?:com|net)"
            r"|pipedream\.net|trycloudflare\.com|oast\.(?:pro|live|site|online|fun|me)|interact\.sh|transfer\.sh"
            r"|burpcollaborator\.net|oastify\.com|loca\.lt|serveo\.net|beeceptor\.com)(?![\w-])"
        ),
        "Talks to a tunnel, request-bin, paste or chat host, as used to carry data out.",
        "T1567",
        rare=True,
    ),
    Indicator(
        "identity-token",
        PYTHON,
        _IDENTITY_NEEDLES,
        _all(_IDENTITY_ENDPOINT),
        "Fetches a token of the managed identity by hand (Microsoft's own Python sample does so too).",
        "T1552.005",
    ),
    Indicator(
        "privileged-role",
        BOTH,
        ("role",),
        _all(
            r"\bNew-Az(?:ureRm)?RoleAssignment\b|\brole_?assignments?\b|\brole_?definition_?(?:name|id)?\b|--role\b"
            r"|\bdirectoryRoles?\b|\broleTemplateId\b|\brole\w{0,24}\s{0,8}[=:]",
            r"(?<![\w$.-])(?:Owner|User Access Administrator|Role Based Access Control Administrator"
            r"|Global Administrator|Company Administrator|Privileged Role Administrator)(?![\w.-])"
            # Owner, User Access Administrator, Global Administrator, Privileged Role Administrator
            r"|\b8e3af657-a8ff-443c-a75c-2fe8c4bcb635\b|\b18d7d88d-d35e-4fb5-a5c3-7720c20a72d9\b"
            r"|\b62e90394-69f5-4237-9190-012177145e10\b|\be8611ab8-c189-46e8-94e1-60213ab1f814\b",
        ),
        "Grants a role that controls everything in its scope.",
        "T1098.003",
    ),
    Indicator(
        "privileged-role",
        BOTH,
        ("elevateaccess", "role"),
        _all(
            r"\belevateAccess\b|\bNew-MgRoleManagementDirectoryRoleAssignment\b|\bNew-MgDirectoryRoleMember(?:ByRef)?\b"
            r"|\bAdd-AzureADDirectoryRoleMember\b"
        ),
        "Grants a directory role or takes control of every subscription.",
        "T1098.003",
    ),
    Indicator(
        "application-credential",
        BOTH,
        ("credential", "password", "addkey"),
        _all(
            r"\bNew-AzAD(?:App|Sp)Credential\b|\bNew-AzADAppFederatedCredential\b|\bAdd-MgApplication(?:Password|Key)\b"
            r"|\bAdd-MgServicePrincipal(?:Password|Key)\b|\bfederatedIdentityCredentials\b|/add(?:Password|Key)\b"
            r"|\bNew-AzureAD(?:Application|ServicePrincipal)(?:Password|Key)Credential\b"
            r"|\baz ad (?:app|sp) credential reset\b"
        ),
        "Adds a credential to an application or service principal.",
        "T1098.001",
    ),
    Indicator(
        "diagnostics-removed",
        BOTH,
        ("remove-azdiagnosticsetting", "diagnostic_settings", "auditbypass"),
        _all(r"\bRemove-AzDiagnosticSetting\b|\bdiagnostic_settings\.delete\b|\bAuditBypassEnabled\b"),
        "Turns logging off.",
        "T1685.002",
    ),
    Indicator(
        "diagnostics-removed",
        BOTH,
        ("diagnosticsettings",),
        _all(r"\bdiagnosticSettings\b", r"\bDELETE\b"),
        "Turns logging off.",
        "T1685.002",
    ),
    Indicator(
        "diagnostics-removed",
        POWERSHELL,
        ("adminauditlogconfig",),
        _all(r"\bSet-AdminAuditLogConfig\b", r"\$false\b"),
        "Turns logging off.",
        "T1685.002",
    ),
    Indicator(
        "certificate-export",
        BOTH,
        ("pfx", "pkcs12", "serialize_key_and_certificates"),
        _all(
            r"\bExport-PfxCertificate\b|\.Export\s{0,4}\(|\bdump_pkcs12\b|\bserialize_key_and_certificates\b",
            r"pfx|pkcs12|serialize_key_and_certificates",
        ),
        "Exports a certificate with its private key.",
        "T1552.004",
    ),
    Indicator(
        "credential-in-clear",
        BOTH,
        ("getnetworkcredential", "get_automation_credential", "ptrtostring"),
        _all(
            r"\bGetNetworkCredential\s{0,4}\(\s{0,4}\)(?!\.(?:UserName|Domain)\b)|\bget_automation_credential\s{0,4}\("
            r"|\bPtrToString(?:Auto|BSTR|Uni)\b"
        ),
        "Reads a stored credential in clear text; see where it goes.",
        "T1555",
    ),
    Indicator(
        "webhook-written",
        BOTH,
        ("automationwebhook", "generateuri"),
        _all(r"\bNew-Az(?:ureRm)?AutomationWebhook\b|\bwebhooks/generateUri\b"),
        "A runbook that creates a webhook: a way back in that needs no sign-in.",
        "T1546",
    ),
    Indicator(
        "webhook-written",
        BOTH,
        ("/webhooks/",),
        _all(r"/webhooks/", _PUT),
        "A runbook that creates a webhook: a way back in that needs no sign-in.",
        "T1546",
    ),
    Indicator(
        "runbook-written",
        BOTH,
        ("automationrunbook", "draft/"),
        _all(r"\b(?:Import|New|Publish|Set)-Az(?:ureRm)?AutomationRunbook\b|\bdraft/(?:content|testJob)\b"),
        "A runbook that writes runbooks.",
        "T1053",
    ),
    Indicator(
        "runbook-written",
        BOTH,
        ("/runbooks/",),
        _all(r"/runbooks/", _PUT),
        "A runbook that writes runbooks.",
        "T1053",
    ),
    Indicator(
        "schedule-written",
        BOTH,
        ("automationscheduledrunbook", "automationschedule"),
        _all(r"\bRegister-Az(?:ureRm)?AutomationScheduledRunbook\b|\bNew-Az(?:ureRm)?AutomationSchedule\b"),
        "A runbook that schedules runbooks.",
        "T1053",
    ),
    Indicator(
        "schedule-written",
        BOTH,
        ("/jobschedules/",),
        _all(r"/jobSchedules/", _PUT),
        "A runbook that schedules runbooks.",
        "T1053",
    ),
    Indicator(
        "vm-command",
        BOTH,
        ("runcommand", "run_command", "run-command", "customscriptextension", "set-azvm"),
        _all(
            r"\b(?:Invoke|Set)-Az(?:VmssVM|Vmss|VM)RunCommand\b|/runCommands?\b|\bbegin_run_command\b"
            r"|\bCustomScriptExtension\b|\bSet-AzVM(?:CustomScript)?Extension\b|\baz vm run-command\b"
        ),
        "Runs a command inside virtual machines.",
        "T1651",
    ),
    Indicator(
        "hybrid-worker-internals",
        BOTH,
        ("hybridrunbookworker", "jobruntimedataserviceuri", "cert:"),
        _all(r"\\HybridRunbookWorker(?:V2)?\b|\bJobRuntimeDataServiceUri\b|\bCert:\\{1,4}LocalMachine\\{1,4}My\b"),
        "Reaches into a hybrid worker: its registry key, its job service or its machine certificates.",
        "T1552",
    ),
    Indicator(
        "access-token",
        BOTH,
        ("get-azaccesstoken", "get-access-token"),
        _all(r"\bGet-AzAccessToken\b|\baz account get-access-token\b"),
        "Takes an access token out of the session; see where it goes.",
        "T1528",
    ),
    Indicator(
        "foreign-post",
        POWERSHELL,
        ("post", "put"),
        _all(
            r"(?<![\w.$-])(?:Invoke-RestMethod|Invoke-WebRequest|irm|iwr)(?![\w-])",
            r"(?<![\w-])-Method[\s:]{1,8}[\"']?(?:Post|Put)\b",
            FOREIGN_URL,
        ),
        "Posts data to a host that is not Microsoft's.",
        "T1567",
    ),
    Indicator(
        "foreign-post",
        POWERSHELL,
        (".upload",),
        _all(r"\.Upload(?:String|Data|File)(?:Async|TaskAsync)?\s{0,4}\(", FOREIGN_URL),
        "Posts data to a host that is not Microsoft's.",
        "T1567",
    ),
    Indicator(
        "foreign-post",
        PYTHON,
        ("requests.", "urlopen"),
        _all(r"\brequests\.(?:post|put)\s{0,4}\(|\burlopen\s{0,4}\((?=[^\n]{0,500}\bdata\b)", FOREIGN_URL),
        "Posts data to a host that is not Microsoft's.",
        "T1567",
    ),
    Indicator(
        "long-base64",
        BOTH,
        ("",),
        (re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{400}"),),
        "Holds a long Base64 block: what is in it cannot be read here.",
        "T1027",
    ),
)
