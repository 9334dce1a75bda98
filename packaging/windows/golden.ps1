#Requires -Version 5.1
#Requires -PSEdition Desktop
<#
.SYNOPSIS
Prepares a Windows for publishing as an image of Troy.

.DESCRIPTION
Run it in the Windows of which the next version is made, as administrator, as the last thing before
the shutdown. It does one step after the other, prints one line for each, and ends with a list of
what a person has still to do. Running it again does no harm. -WhatIf shows what it would do, and
changes nothing. The page golden.md of Troy's manual explains each step, and how to undo it. It was
never run on a real Windows: keep a copy of the disk.

.PARAMETER Skip
Names of steps to leave out, comma-separated.

.PARAMETER Only
Names of the steps to do, comma-separated; no other is done.

.PARAMETER DriverFolder
A folder with drivers of the other models of the room (.inf files, folders below it as well).

.PARAMETER DefenderShare
A share with unpacked security intelligence of Defender, as \\server\share.

.PARAMETER PagefileMB
Size of the page file in MB, 0 for none.

.PARAMETER Apps
The apps to remove, by the name of their package; * stands for any text.

.EXAMPLE
powershell -ExecutionPolicy Bypass -File golden.ps1 -Skip apps,onedrive -DriverFolder D:\drivers
#>
[CmdletBinding(SupportsShouldProcess = $true)]
param(
    [string[]]$Skip = @(),
    [string[]]$Only = @(),
    [string]$DriverFolder = '',
    [string]$DefenderShare = '',
    [ValidateRange(0, 4096)][int]$PagefileMB = 2048,
    [string[]]$Apps = @(
        'Clipchamp.Clipchamp', 'Microsoft.Bing*', 'Microsoft.Copilot', 'Microsoft.GamingApp',
        'Microsoft.GetHelp', 'Microsoft.Getstarted', 'Microsoft.MicrosoftOfficeHub',
        'Microsoft.MicrosoftSolitaireCollection', 'Microsoft.OutlookForWindows', 'Microsoft.People',
        'Microsoft.PowerAutomateDesktop', 'Microsoft.Todos', 'Microsoft.WindowsFeedbackHub',
        'Microsoft.WindowsMaps', 'Microsoft.Xbox*', 'Microsoft.YourPhone', 'Microsoft.Zune*',
        'MicrosoftCorporationII.MicrosoftFamily', 'MicrosoftWindows.CrossDevice', 'MSTeams'
    )
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$windows = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion'
$policies = 'HKLM:\SOFTWARE\Policies\Microsoft'
$control = 'HKLM:\SYSTEM\CurrentControlSet\Control'

# The steps, in their order: the function of each, and what it does. Only Invoke-Step runs them.
# A step may return a line that says more than "done".
$steps = [ordered]@{
    'hibernation' = 'Disable-Hibernation', 'switch hibernation and Fast Startup off'
    'device-encryption' = 'Disable-DeviceEncryption', 'keep Windows from encrypting by itself'
    'windows-update' = 'Disable-WindowsUpdate', 'switch automatic updates of Windows off'
    'store-updates' = 'Disable-StoreUpdate', 'switch updates of apps by the Store off'
    'edge-updates' = 'Disable-EdgeUpdate', 'switch updates of Edge off'
    'office-updates' = 'Disable-OfficeUpdate', 'switch updates of Office off'
    'maintenance' = 'Disable-Maintenance', 'switch off the tasks that tidy the disk daily'
    'recovery' = 'Disable-Recovery', 'switch Windows RE off'
    'restore-points' = 'Remove-RestorePoint', 'switch restore points off, delete shadow copies'
    'onedrive' = 'Remove-OneDriveStart', 'keep OneDrive from being set up for each new user'
    'pagefile' = 'Set-Pagefile', "set a page file of $PagefileMB MB"
    'crash-dump' = 'Set-CrashDump', 'set crash dumps to the small kind'
    'apps' = 'Remove-App', 'remove the apps of -Apps, which each new user would get'
    'first-logon' = 'Set-FirstLogon', 'shorten the first logon of a user'
    'drivers' = 'Add-Driver', 'add the drivers of -DriverFolder'
    'machine-file' = 'Add-MachineFile', 'make the placeholder C:\Troy\machine.json'
    'defender-share' = 'Set-DefenderShare', 'take security intelligence from -DefenderShare'
    'defender-cache' = 'Update-DefenderCache', 'run the cache maintenance of Defender once'
    'components' = 'Clear-ComponentStore', 'remove superseded components of Windows (minutes)'
    'downloads' = 'Clear-Download', 'delete the files of installed updates'
}

# Programs that keep an identity of the PC on its disk, by the name of their service.
$identities = [ordered]@{
    'CcmExec' = 'Configuration Manager: its id and certificates'
    'CSFalconService' = 'CrowdStrike Falcon: its agent id'
    'SentinelAgent' = 'SentinelOne: its agent id'
    'Sophos MCS Agent' = 'Sophos: its registration'
    'EraAgentSvc' = 'ESET Management Agent: its agent id'
    'klnagent' = 'Kaspersky Network Agent: its host id'
    'VeyonService' = 'Veyon: private keys, which only the PC of the teacher may have'
    'FOGService' = 'FOG client: its token'
    'salt-minion' = 'Salt: the key of the minion'
    'TeamViewer' = 'TeamViewer: its id and password'
}

# A native program does not throw: its exit code tells whether it worked. What it writes to stderr
# would end the script while ErrorActionPreference is Stop.
function Invoke-Tool([string]$File, [string[]]$Arguments, [int[]]$Good = @(0)) {
    $ErrorActionPreference = 'Continue'
    $said = & (Join-Path $env:SystemRoot "System32\$File") $Arguments 2>&1 | Out-String
    if ($Good -notcontains $LASTEXITCODE) {
        throw "$File $Arguments ended with ${LASTEXITCODE}: $(($said -replace '\s+', ' ').Trim())"
    }
}

# New-Item would empty a key that is there.
function Set-Number([string]$Key, [string]$Name, [int]$Value) {
    if (-not (Test-Path -LiteralPath $Key)) {
        New-Item -Path $Key -Force | Out-Null
    }
    $null = New-ItemProperty -LiteralPath $Key -Name $Name -Value $Value -PropertyType DWord -Force
}

# The name may hold wildcards: some names end with the id of a user.
function Disable-Task([string]$Path, [string]$Name) {
    Get-ScheduledTask -TaskPath $Path -TaskName $Name -ErrorAction SilentlyContinue |
        Disable-ScheduledTask | Out-Null
}

# Windows hibernates at "Shut down" with Fast Startup: such a disk is not published.
function Disable-Hibernation {
    Invoke-Tool 'powercfg.exe' '/hibernate', 'off'
}

# Windows 11 encrypts disks of new PCs by itself; BitLocker does not work in a VHDX. What is
# encrypted already is not decrypted here: that takes hours, and the list at the end names it.
function Disable-DeviceEncryption {
    Set-Number "$control\BitLocker" 'PreventDeviceEncryption' 1
}

# After a reset each PC would fetch and install the same updates once more. Those that a person asks
# for in Settings still work: they belong into the image.
function Disable-WindowsUpdate {
    Set-Number "$policies\Windows\WindowsUpdate\AU" 'NoAutoUpdate' 1
}

# The same for apps. 2 is "off", 4 "on".
function Disable-StoreUpdate {
    Set-Number "$policies\WindowsStore" 'AutoDownload' 2
}

# The same for Edge. PCs outside of a domain may ignore the policy, so the tasks that start its
# updater are switched off as well.
function Disable-EdgeUpdate {
    Set-Number "$policies\EdgeUpdate" 'UpdateDefault' 0
    Disable-Task '\' 'MicrosoftEdgeUpdateTaskMachine*'
}

# The same for Office.
function Disable-OfficeUpdate {
    Set-Number "$policies\office\16.0\common\officeupdate" 'enableautomaticupdates' 0
}

# A reset discards their work, and the next day repeats it. ScheduledDefrag also trims the disk.
function Disable-Maintenance {
    Disable-Task '\Microsoft\Windows\Defrag\' 'ScheduledDefrag'
    Disable-Task '\Microsoft\Windows\Servicing\' 'StartComponentCleanup'
}

# Windows RE has no partition of its own on a PC of Troy, and updates of it fail. Whether it is on
# tells its file: the words of reagentc depend on the language.
function Disable-Recovery {
    $file = Join-Path $env:SystemRoot 'System32\Recovery\ReAgent.xml'
    if (-not (Test-Path -LiteralPath $file) -or
        ([xml](Get-Content -LiteralPath $file -Raw)).WindowsRE.InstallState.state -ne '1') {
        return 'it was off'
    }
    Invoke-Tool 'reagentc.exe' '/disable'
}

# Shadow copies lie in clusters that look free. While there is one, a version holds all of these.
function Remove-RestorePoint {
    Disable-ComputerRestore -Drive "$env:SystemDrive\"
    $copies = @(Get-CimInstance -ClassName Win32_ShadowCopy)
    if ($copies.Count -gt 0) {
        Invoke-Tool 'vssadmin.exe' 'delete', 'shadows', '/all', '/quiet'
    }
    return "deleted $($copies.Count)"
}

# Each user of a reset PC is a new one, for whom OneDrive would be installed again. reg.exe edits
# their profile: PowerShell would keep keys open, and the hive could not be unloaded.
function Remove-OneDriveStart {
    $key = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList'
    $hive = Join-Path (Get-ItemProperty -LiteralPath $key).Default 'NTUSER.DAT'
    $run = 'HKU\TroyDefault\Software\Microsoft\Windows\CurrentVersion\Run'
    Invoke-Tool 'reg.exe' 'load', 'HKU\TroyDefault', $hive
    try { # it ends with 1 where the value is not there
        Invoke-Tool 'reg.exe' 'delete', $run, '/v', 'OneDriveSetup', '/f' -Good 0, 1
    } finally {
        Invoke-Tool 'reg.exe' 'unload', 'HKU\TroyDefault'
    }
    Disable-Task '\' 'OneDrive*'
}

# A page file that Windows sizes takes room that the PC may not have. "?:" is the volume of Windows
# if that may hold one, else another. New-ItemProperty makes no empty list.
function Set-Pagefile {
    [string[]]$line = @()
    if ($PagefileMB -gt 0) {
        $line = @("?:\pagefile.sys $PagefileMB $PagefileMB")
    }
    $key = 'HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management'
    [Microsoft.Win32.Registry]::SetValue($key, 'PagingFiles', $line, 'MultiString')
}

# A full dump needs a page file as large as the memory. 3 is the small kind.
function Set-CrashDump {
    Set-Number "$control\CrashControl" 'CrashDumpEnabled' 3
}

# Windows installs these for each new user, which makes the first logon after each reset long.
function Remove-App {
    $all = Get-AppxProvisionedPackage -Online
    $found = @($all | Where-Object {
            $name = $_.DisplayName
            $Apps -split ',' | Where-Object { $name -like $_ }
        })
    foreach ($app in $found) {
        Remove-AppxProvisionedPackage -Online -AllUsers -PackageName $app.PackageName | Out-Null
    }
    return "removed $($found.Count)"
}

# No animation, no questions about privacy, no advertised apps.
function Set-FirstLogon {
    Set-Number "$windows\Policies\System" 'EnableFirstLogonAnimation' 0
    Set-Number "$policies\Windows\OOBE" 'DisablePrivacyExperience' 1
    Set-Number "$policies\Windows\CloudContent" 'DisableWindowsConsumerFeatures' 1
}

# One image serves all models of a room. 259: nothing new; 3010: needs a restart.
function Add-Driver {
    if ($DriverFolder -eq '') {
        return 'no -DriverFolder: nothing to do'
    }
    $files = Join-Path $DriverFolder '*.inf'
    Invoke-Tool 'pnputil.exe' '/add-driver', $files, '/subdirs', '/install' -Good 0, 259, 3010
}

# Troy overwrites this file in place with what is a PC's own; its size is the room for that. Only
# SYSTEM and administrators may read it, or it takes no secrets.
function Add-MachineFile {
    $file = Join-Path $env:SystemDrive 'Troy\machine.json'
    if (Test-Path -LiteralPath $file) {
        return 'it is there, and was left as it is'
    }
    New-Item -ItemType Directory -Force -Path (Split-Path $file) | Out-Null
    [IO.File]::WriteAllText($file, ' ' * 4096)
    Invoke-Tool 'icacls.exe' $file, '/setowner', '*S-1-5-32-544'
    Invoke-Tool 'icacls.exe' $file, '/inheritance:r', '/grant:r', '*S-1-5-18:F', '*S-1-5-32-544:F'
}

# A reset takes the intelligence back to that of the image. From a share each PC gets it unpacked.
function Set-DefenderShare {
    if ($DefenderShare -eq '') {
        return 'no -DefenderShare: nothing to do'
    }
    Set-MpPreference -SharedSignaturesPath $DefenderShare
}

# Defender notes which files it has seen. Done once here, no PC repeats it after each reset.
function Update-DefenderCache {
    $path, $name = '\Microsoft\Windows\Windows Defender\', 'Windows Defender Cache Maintenance'
    if (-not (Get-ScheduledTask -TaskPath $path -TaskName $name -ErrorAction SilentlyContinue)) {
        return 'Defender has no such task here'
    }
    Start-ScheduledTask -TaskPath $path -TaskName $name
    $until = (Get-Date).AddMinutes(30)
    do {
        Start-Sleep -Seconds 5
        $state = (Get-ScheduledTask -TaskPath $path -TaskName $name).State
        if ((Get-Date) -gt $until) {
            throw 'it still runs after 30 minutes'
        }
    } while ($state -eq 'Running')
}

# Without /ResetBase: updates can still be removed.
function Clear-ComponentStore {
    Invoke-Tool 'dism.exe' '/Online', '/Cleanup-Image', '/StartComponentCleanup' -Good 0, 3010
}

# Updates that are installed already, and would go to every PC.
function Clear-Download {
    Stop-Service -Name 'wuauserv' -Force
    $folder = Join-Path $env:SystemRoot 'SoftwareDistribution\Download'
    Get-ChildItem -LiteralPath $folder -Force | Remove-Item -Recurse -Force
}

# For bad input: one line, before the first step.
function Exit-Unchanged([string]$Why) {
    [Console]::Error.WriteLine("golden.ps1: $Why; nothing was changed")
    exit 2
}

# powershell -File hands a list over as one text.
function Get-Chosen([string[]]$Names, [string]$Parameter) {
    $chosen = @($Names | ForEach-Object { $_ -split ',' } | ForEach-Object { $_.Trim() })
    $chosen = @($chosen | Where-Object { $_ -ne '' })
    foreach ($name in $chosen) {
        if (@($steps.Keys) -notcontains $name) {
            Exit-Unchanged "-${Parameter}: no step '$name', there are $(@($steps.Keys) -join ', ')"
        }
    }
    return $chosen
}

# In 32 bits the registry and System32 are others than those of Windows.
function Test-Start {
    $me = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
    if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
        Exit-Unchanged 'not run as administrator (open PowerShell by "Run as administrator")'
    }
    if (-not [Environment]::Is64BitProcess) {
        Exit-Unchanged 'this PowerShell has 32 bits (start the one without "(x86)" in its name)'
    }
    if ($DriverFolder -ne '' -and -not (Test-Path -LiteralPath $DriverFolder -PathType Container)) {
        Exit-Unchanged "-DriverFolder: $DriverFolder is no folder"
    }
    if ($DefenderShare -ne '' -and $DefenderShare -notmatch '^\\\\[^\\]+\\[^\\]+') {
        Exit-Unchanged "-DefenderShare: $DefenderShare is not of the form \\server\share"
    }
}

# A step that fails does not keep the others from being done. Within a step no question is asked.
function Invoke-Step([string]$Name) {
    $ConfirmPreference = 'None'
    $command, $does = $steps[$Name]
    try {
        $word = 'done'
        foreach ($line in @(& $command)) {
            $word = $line
        }
        return "${Name}: ${does}: $word"
    } catch {
        $script:failed += $Name
        return "${Name}: ${does}: FAILED: $($_.Exception.Message)"
    }
}

# What only a look into this Windows tells. Home editions lack the command for BitLocker.
function Get-Found {
    try {
        if (@(Get-BitLockerVolume | Where-Object { $_.VolumeStatus -ne 'FullyDecrypted' }).Count) {
            'a volume is encrypted: manage-bde -off C:, wait until -status says Fully Decrypted'
        }
    } catch {
        'look whether a volume is encrypted: manage-bde -status'
    }
    if ((Test-Path -LiteralPath "$windows\WindowsUpdate\Auto Update\RebootRequired") -or
        (Test-Path -LiteralPath "$windows\Component Based Servicing\RebootPending")) {
        'updates wait for a restart: restart, and run this script again'
    }
    $key = 'HKLM:\SOFTWARE\Microsoft\Windows Advanced Threat Protection\Status'
    $sense = Get-ItemProperty -LiteralPath $key -ErrorAction SilentlyContinue
    if ($sense -and $sense.PSObject.Properties['OnboardingState'] -and $sense.OnboardingState) {
        'its identity goes to every PC: Defender for Endpoint, which is onboarded'
    }
    foreach ($service in $identities.Keys) {
        if (Get-Service -Name $service -ErrorAction SilentlyContinue) {
            "its identity goes to every PC: $($identities[$service])"
        }
    }
}

# What no script knows.
function Show-Remaining {
    'Still to do by hand (golden.md of the manual says how):'
    foreach ($name in $failed) {
        "  - the step $name, which failed"
    }
    foreach ($line in @(Get-Found)) {
        "  - $line"
    }
    '  - storage drivers of the other models'
    '  - the checklist of programs with an identity of their own'
    '  - programs that update themselves, such as browsers'
    '  - log on once as a new user: how long does it take, and what starts by itself?'
    '  - wait until the search index and Defender are idle'
    '  - the last thing: shutdown /s /t 0'
}

Test-Start
$skipped = @(Get-Chosen $Skip 'Skip')
$wanted = @(Get-Chosen $Only 'Only')
$failed = @()
foreach ($name in @($steps.Keys)) {
    if ($skipped -contains $name -or ($wanted.Count -gt 0 -and $wanted -notcontains $name)) {
        "${name}: left out"
    } elseif ($PSCmdlet.ShouldProcess($name, $steps[$name][1])) {
        Invoke-Step $name
    }
}
Show-Remaining
if ($failed.Count -gt 0) {
    exit 1
}
