# Runs a command of the mirror: .\sync_cli.ps1 status, initial-sync, incremental-sync, daemon, test, help.
# In the container of the Compose service sync-service where that runs, else from the checkout.
$ErrorActionPreference = 'Stop'
Set-Location -Path $PSScriptRoot
$command = if ($args.Count -eq 0) { @('help') } else { $args }
$service = if ($env:SYNC_SERVICE) { $env:SYNC_SERVICE } else { 'sync-service' }
$running = $null
if (Get-Command docker -ErrorAction SilentlyContinue) {
    try { $running = docker compose ps --quiet --status running $service 2>$null } catch { $running = $null }
}
if ($running) {
    docker compose exec $service drover mirror @command
} elseif ($IsWindows -or $env:OS -eq 'Windows_NT') {
    node packages/cli/bundle/main.js mirror @command
} else {
    & ./drover mirror @command
}
exit $LASTEXITCODE
