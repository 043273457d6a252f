<#
.SYNOPSIS
    Repairs what Test-BackupShare found. Started by the watcher Watch-BackupShare.
#>
param(
    [object] $EVENTDATA
)

Connect-AzAccount -Identity | Out-Null
Invoke-Expression $EVENTDATA.EventProperties.Data.step
